"""Whichever comes first: the others end, errors come out as they are, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc

import pytest

from hyperhive.domain import errors
from hyperhive.services import waiting


def run(story) -> None:
    async def main():
        async with asyncio.timeout(5):
            await story()

    asyncio.run(main())


def test_the_first_ends_the_others_and_waits_for_their_end():
    async def story():
        ended = []

        async def slow():
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append("slow")

        await waiting.first(slow(), asyncio.sleep(0), slow())
        assert ended == ["slow", "slow"]

    run(story)


def test_an_error_comes_out_as_it_is():
    async def story():
        async def refuse():
            raise errors.conflict("cannot wait: told so")

        with pytest.raises(errors.HiveError, match="told so"):
            await waiting.first(asyncio.Event().wait(), refuse())

    run(story)


def test_of_two_errors_the_first_counts():
    async def story():
        async def refuse(number):
            raise errors.conflict(f"cannot wait: {number}")

        with pytest.raises(errors.HiveError, match="cannot wait: 1"):
            await waiting.first(refuse(1), refuse(2))

    run(story)


def test_what_was_done_is_done_also_when_another_was_first():
    async def story():
        done = []

        async def work(name):
            done.append(name)

        await waiting.first(work("a"), work("b"))
        assert "a" in done

    run(story)


def test_a_cancelled_wait_ends_all_and_stays_cancelled():
    async def story():
        ended = []

        async def slow(name):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        task = asyncio.get_running_loop().create_task(waiting.first(slow("a"), slow("b")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == ["a", "b"]

    run(story)


def test_what_never_began_is_closed(recwarn):
    async def story():
        async def at_once():
            pass

        await waiting.first(at_once(), asyncio.Event().wait())
        gc.collect()

    run(story)
    assert not recwarn.list
