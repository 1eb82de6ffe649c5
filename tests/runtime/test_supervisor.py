"""The only starter of tasks: names, ends, and what becomes of a bug."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from hyperhive.runtime.supervisor import Supervisor


def supervised(story) -> list[str]:
    """Run *story* with a supervisor; returns what was logged."""
    logged: list[str] = []

    def note(_: Any, level: str, event: Any) -> str:
        logged.append(f"{level}: {event['event']}: {event.get('task')}")
        return ""

    async def main() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
            await story(Supervisor(group, log))

    asyncio.run(main())
    return logged


def test_a_task_runs_until_it_returns_and_its_name_is_free_again():
    async def story(tasks):
        done = asyncio.Event()

        async def work():
            done.set()

        tasks.start("one", work())
        assert tasks.is_running("one")
        await done.wait()
        while tasks.is_running("one"):
            await asyncio.sleep(0)
        done.clear()
        tasks.start("one", work())
        await done.wait()

    assert supervised(story) == []


def test_a_running_name_is_refused_and_leaves_no_unawaited_work():
    async def story(tasks):
        tasks.start("one", asyncio.Event().wait())
        with pytest.raises(RuntimeError, match="'one' is already running"):
            tasks.start("one", asyncio.Event().wait())
        await tasks.stop_all()

    assert supervised(story) == []


def test_stopping_ends_the_newest_first_and_waits_for_all():
    ended = []

    async def work(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def story(tasks):
        for name in ("first", "second", "third"):
            tasks.start(name, work(name))
        await asyncio.sleep(0)
        await tasks.stop_all()
        assert ended == ["third", "second", "first"]
        await tasks.stop_all()

    assert supervised(story) == []


def test_a_bug_takes_all_down():
    ended = []

    async def bug():
        raise ZeroDivisionError

    async def other():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    async def story(tasks):
        tasks.start("other", other())
        await asyncio.sleep(0)
        tasks.start("buggy", bug())
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        supervised(story)
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
    assert ended == ["other"]


def test_the_log_names_the_task_that_failed():
    logged: list[Any] = []

    def note(_: Any, level: str, event: Any) -> str:
        logged.append((level, event["event"], event["task"]))
        return ""

    async def bug():
        raise ZeroDivisionError

    async def main():
        async with asyncio.TaskGroup() as group:
            log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
            Supervisor(group, log).start("buggy", bug())

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
    assert logged == [("error", "a task failed; the daemon stops", "buggy")]
