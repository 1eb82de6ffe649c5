"""The contract of one-shots, told to the memory twin, to the real thing, and as a user."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.sandbox import one_shot_memory as memory
from rigs import sandbox_bench
from rigs import sandbox_one_shots as stories

EVERY_STORY = pytest.mark.parametrize("story", stories.STORIES)
REAL = {**stories.STORIES, **stories.REAL_STORIES}


@dataclasses.dataclass
class MemoryBench:
    """The twin, with the programs of the stories."""

    top: pathlib.Path
    one_shots: ports.OneShots


def make_twin() -> memory.MemoryOneShots:
    result = ports.ProcessResult
    twin = memory.MemoryOneShots()
    twin.answer(*stories.MIXED, result=result(3, b"out\n", b"err\n"))
    twin.answer(*stories.BIG, result=result(0, bytes(5000), b""))
    twin.answer(*stories.KILLED, result=result(137, b"", b""))
    twin.answer(*stories.COPY, result=lambda call: result(0, call.stdin, b""))
    twin.answer(
        *stories.GIVEN,
        result=lambda call: result(
            0, f"{call.order.env['GIVEN']} {call.order.cwd}\n".encode(), b""
        ),
    )
    twin.answer(*stories.WRITE, result=_write)
    twin.answer(*stories.FOREVER, result=_forever)
    return twin


def _given(call: memory.Call) -> ports.ProcessResult:
    said = f"{call.order.env['GIVEN']} {call.order.cwd}\n"
    return ports.ProcessResult(0, said.encode(), b"")


def _write(call: memory.Call) -> ports.ProcessResult:
    (call.order.binds[0].source / "made").write_text("made\n")
    return ports.ProcessResult(0, b"", b"")


async def _forever(call: memory.Call) -> ports.ProcessResult:
    (call.order.binds[0].source / "beat").write_text("1")
    return await asyncio.get_running_loop().create_future()


@EVERY_STORY
def test_in_memory(story: str, home: pathlib.Path) -> None:
    asyncio.run(stories.STORIES[story](MemoryBench(home, make_twin())))


@pytest.mark.system
@pytest.mark.parametrize("story", REAL)
def test_for_real(story: str, home: pathlib.Path) -> None:
    sandbox_bench.RealBench(home, "host").tell(REAL[story])


@pytest.mark.system
@pytest.mark.skipif(not sandbox_bench.ROOT, reason="test_for_real runs as an ordinary user already")
@pytest.mark.parametrize("story", REAL)
def test_for_real_as_an_ordinary_user(story: str, open_source: pathlib.Path) -> None:
    told = sandbox_bench.tell_as_ordinary_user(open_source, "sandbox_one_shots", story)
    assert told.stdout.endswith("told\n"), told.stderr
