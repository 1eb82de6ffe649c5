"""What a loop outlives, and what it does not."""

from __future__ import annotations

import asyncio
import errno
import itertools
import resource

import pytest
import structlog

from hyperhive import daemon
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import errors
from hyperhive.runtime import patience

LOG = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])


@pytest.mark.parametrize(
    "refusal", [errors.unavailable("cannot: full"), OSError(errno.EMFILE, "too many open files")]
)
def test_what_is_only_for_now_is_tried_again_after_growing_pauses(refusal):
    async def story():
        clock, times = ManualClock(), []

        async def step():
            times.append(clock.monotonic())
            if len(times) < 8:
                raise refusal

        async with asyncio.TaskGroup() as group:
            task = group.create_task(patience.keep_trying(step, clock, LOG, "test"))
            while not task.done():
                await asyncio.sleep(0)
                clock.advance(0.5)
        pauses = [round(after - before) for before, after in itertools.pairwise(times)]
        assert pauses == pytest.approx([1, 2, 5, 5, 5, 5, 5], abs=1)

    asyncio.run(story())


@pytest.mark.parametrize("bug", [errors.conflict("cannot: a bug"), ValueError("a bug")])
def test_a_bug_is_raised(bug):
    async def step():
        raise bug

    with pytest.raises(type(bug), match="a bug"):
        asyncio.run(patience.keep_trying(step, ManualClock(), LOG, "test"))


def test_the_daemon_takes_the_descriptors_that_it_may_have():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        daemon.raise_descriptor_limit()
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (daemon.DESCRIPTORS if hard < 0 else min(hard, daemon.DESCRIPTORS))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
