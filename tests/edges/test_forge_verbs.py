"""The operator's verbs about the forge, and its part of ``doctor``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.adapters.mirror.memory import MemoryMirror
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import errors
from hyperhive.edges import actions
from hyperhive.services.mirroring import Mirroring

Open = Callable[[], contextlib.AbstractAsyncContextManager[Any]]
TOKEN = "0123456789abcdef" * 2


def test_status_token_and_doctor(hive: Open) -> None:
    async def story() -> None:
        async with hive() as host:
            mirror, secrets = MemoryMirror(), MemorySecrets()
            board = Mirroring(
                host.store, secrets, host.clock, mirror, url="http://f", organisation="o"
            )
            verbs = actions.Actions(dataclasses.replace(host.actions._deps, forge=board))
            board.retain(["meta"])
            status = await verbs.call(host.olga, "forge-status", {})
            assert status == board.status()
            assert [row["name"] for row in status["repositories"]] == ["meta"]
            answer = await verbs.call(host.olga, "set-forge-token", {"token": TOKEN})
            assert [each["severity"] for each in answer["findings"]] == ["ok"]
            assert await secrets.read(ports.TOKEN_SECRET) == TOKEN
            mirror.fault = ports.MirrorError(ports.Fault.UNREACHABLE, "cannot reach it")
            findings = (await verbs.call(host.olga, "doctor", {}))["findings"]
            assert [each["text"] for each in findings if each["topic"] == "forge"] == [
                "cannot reach it"
            ]

    asyncio.run(story())


def test_a_hive_without_configurations_has_none(hive: Open) -> None:
    async def story() -> None:
        async with hive() as host:
            verbs = actions.Actions(dataclasses.replace(host.actions._deps, forge=None))
            with pytest.raises(errors.HiveError) as caught:
                await verbs.call(host.olga, "forge-status", {})
            assert caught.value.kind is errors.ErrorKind.UNAVAILABLE

    asyncio.run(story())
