"""A log is trimmed by its own writer's noise, and nothing happens while it is quiet."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from hyperhive.adapters.sandbox import log_keeper

pytestmark = pytest.mark.system


async def _until(reached) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.01)


def test_a_log_that_grows_is_trimmed_and_others_are_left_alone(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        keeper = log_keeper.LogKeeper(keep=1000)
        loud, quiet = tmp_path / "loud", tmp_path / "quiet"
        for log in (loud, quiet):
            log.write_bytes(b"begin\n")
        with keeper.keep(loud), keeper.keep(quiet), loud.open("ab", buffering=0) as payload:
            payload.write(b"x" * 3000 + b"\nend\n")
            await _until(lambda: loud.stat().st_size == 0)
            assert (tmp_path / "loud.1").read_bytes().endswith(b"x\nend\n")
            assert quiet.read_bytes() == b"begin\n"
            payload.write(b"again\n")
            assert loud.read_bytes() == b"again\n"
            payload.write(b"y" * 2000)
            await _until(lambda: loud.stat().st_size == 0)

    asyncio.run(story())


def test_a_log_that_was_too_large_already_is_trimmed_at_once(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        log = tmp_path / "log"
        log.write_bytes(b"z" * 5000)
        with log_keeper.LogKeeper(keep=1000).keep(log):
            assert log.stat().st_size == 0

    asyncio.run(story())
