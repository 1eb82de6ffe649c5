"""Statistics at the edges: verbs, the download, and who may read ``/metrics``."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import dataclasses
import datetime
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.domain import access, errors, turns
from rigs.page_client import visited
from rigs.store_world import make_turn

Open = Callable[[], contextlib.AbstractAsyncContextManager[Any]]
OLGA = access.operator("page")


async def add_turn(store: ports.Store, clock: ports.Clock, agent: str, **changed: Any) -> None:
    now = clock.now()
    row = dataclasses.replace(
        make_turn(f"turn-{agent}", agent), started_at=now - datetime.timedelta(days=2),
        ended_at=now - datetime.timedelta(days=2) + datetime.timedelta(seconds=4),
        outcome=turns.Outcome.OK, usage=turns.Usage(10, 2, 30, 0, 0.5, 40), **changed,
    )  # fmt: skip
    await store.write(lambda tx: tx.insert_turn(row))


def test_the_verb_answers_for_all_and_for_one(hive: Open) -> None:
    async def story() -> None:
        async with hive() as host:
            await add_turn(host.store, host.clock, "f" * 12)
            seen = await host.actions.call(host.olga, "stats", {"days": 7})
            assert seen["total"]["turns"] == 1
            assert (await host.actions.call(host.olga, "stats", {"days": 1}))["rows"] == []
            for wrong in ({"days": 0}, {"days": 31}, {"days": "7"}, {"name": 7}):
                with pytest.raises(errors.HiveError) as caught:
                    await host.actions.call(host.olga, "stats", wrong)
                assert caught.value.kind is errors.ErrorKind.INVALID
            with pytest.raises(errors.HiveError) as caught:
                await host.actions.call(host.olga, "stats", {"name": "nobody"})
            assert caught.value.kind is errors.ErrorKind.NOT_FOUND

    asyncio.run(story())


def test_the_token_verb_makes_and_ends_one(hive: Open) -> None:
    async def story() -> None:
        async with hive() as host:
            token = (await host.actions.call(host.olga, "metrics-token", {}))["token"]
            scraping = host.actions._deps.scraping
            assert await scraping.admits(token)
            ended = await host.actions.call(host.olga, "metrics-token", {"revoke": True})
            assert ended == {"token": None}
            assert not await scraping.admits(token)

    asyncio.run(story())


def test_metrics_are_for_the_token_or_a_session_and_for_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, _):
            await hive.agent("coder")
            token = (await hive.verbs.call(OLGA, "metrics-token", {}))["token"]
            good = {"Authorization": f"Bearer {token}"}
            for refused in (
                {}, {"Authorization": "Bearer "}, {"Authorization": token},
                {"Authorization": f"Bearer {token}x"}, {"Authorization": f"Basic {token}"},
            ):  # fmt: skip
                status, text, headers = await browser.get("/metrics", **refused)
                assert status == 401, refused
                assert "hive metrics-token" in text
                assert headers["WWW-Authenticate"].startswith("Bearer")
            status, text, headers = await browser.get("/metrics", **good)
            assert status == 200
            assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert 'hive_agents{phase="running"} ' in text
            # It opens nothing else, and nothing else opens with it.
            for path in ("/api/snapshot", "/api/statistics.csv", "/api/agents/coder/history"):
                assert (await browser.get(path, **good))[0] == 401
            status, _ = await browser.post("/api/actions/status", {}, {**browser.origin, **good})
            assert status == 401
            # Neither does a foreign page with it, as the guard stands before.
            assert (await browser.get("/metrics", **good, Origin="http://evil.test"))[0] == 403
            assert await browser.sign_in(hive.page.sign_in_link()) == 200
            assert (await browser.get("/metrics"))[0] == 200
            await hive.verbs.call(OLGA, "metrics-token", {"revoke": True})
            browser.http.cookie_jar.clear()
            assert (await browser.get("/metrics", **good))[0] == 401

    asyncio.run(story())


def test_the_download_is_a_file_and_never_a_page(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, clock):
            agent = await hive.agent("coder")
            await add_turn(hive.store, clock, agent.id, model="=HYPERLINK(1)")
            status, text, headers = await browser.get("/api/statistics.csv?days=7")
            assert status == 200
            assert headers["Content-Type"].startswith("text/csv")
            assert headers["Content-Disposition"] == 'attachment; filename="hive-statistics-7d.csv"'
            assert headers["X-Content-Type-Options"] == "nosniff"
            [row] = csv.DictReader(io.StringIO(text))
            assert (row["agent"], row["model"], row["ok"]) == ("coder", "'=HYPERLINK(1)", "1")
            assert (row["cost_usd"], row["p95_seconds"]) == ("0.5", "4")
            assert (await browser.get("/api/statistics.csv?days=1"))[1].count("\r\n") == 1
            for wrong in ("31", "-1", "x", "1.5"):
                assert (await browser.get(f"/api/statistics.csv?days={wrong}"))[0] == 400

    asyncio.run(story())
