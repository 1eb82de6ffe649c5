"""Following and trimming logs that payloads fill as they like."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
from collections.abc import AsyncIterator

import pytest

from hyperhive.adapters.sandbox import logs


async def _read(log: pathlib.Path, lines: int) -> list[str]:
    return [line async for line in logs.follow_log(log, lines=lines, follow=False)]


@pytest.mark.parametrize(
    ("content", "lines", "wanted"),
    [
        (b"", 5, []),
        (b"one\ntwo\nthree\n", 2, ["two", "three"]),
        (b"one\ntwo", 5, ["one", "two"]),
        (b"one\n\n", 2, ["one", ""]),
        (b"bad \xff\xfe bytes\n", 1, ["bad \ufffd\ufffd bytes"]),
        (b"one\ntwo\n", 0, []),
    ],
)
def test_the_last_lines(
    content: bytes, lines: int, wanted: list[str], tmp_path: pathlib.Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    assert asyncio.run(_read(log, lines)) == wanted


def test_many_lines_are_read_from_the_end(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(200_000)))
    assert asyncio.run(_read(log, 3)) == ["line 199997", "line 199998", "line 199999"]


def test_a_line_without_end_comes_in_pieces(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (3 * logs.LINE_LIMIT + 10))
    pieces = asyncio.run(_read(log, 1))
    assert [len(piece) for piece in pieces] == [logs.LINE_LIMIT] * 3 + [10]


def test_a_huge_sparse_log_is_bounded(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        stream.truncate(1 << 40)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\nend\n")
    assert asyncio.run(_read(log, 1)) == ["end"]
    logs.trim_log(log, keep=1024)
    assert log.stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == 1024


def test_a_log_that_does_not_exist_is_empty(tmp_path: pathlib.Path) -> None:
    assert asyncio.run(_read(tmp_path / "none", 5)) == []


@contextlib.asynccontextmanager
async def _following(log: pathlib.Path, lines: int = 10) -> AsyncIterator[asyncio.Queue[str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def follow() -> None:
        async for line in logs.follow_log(log, lines=lines, follow=True):
            queue.put_nowait(line)

    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        task = group.create_task(follow())
        yield queue
        task.cancel()


def _append(log: pathlib.Path, data: bytes) -> None:
    with log.open("ab") as stream:
        stream.write(data)


def test_following_wakes_for_each_line_and_keeps_halves(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\nhal")

    async def story() -> None:
        async with _following(log) as queue:
            assert await queue.get() == "old"
            _append(log, b"f\nnext\n")
            assert [await queue.get(), await queue.get()] == ["half", "next"]
            _append(log, b"last \xff\n")
            assert await queue.get() == "last \ufffd"

    asyncio.run(story())


def test_following_survives_trimming_replacing_and_a_late_start(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"

    async def story() -> None:
        async with _following(log) as queue:
            await asyncio.sleep(0.05)
            log.write_bytes(b"first\n")
            assert await queue.get() == "first"
            with log.open("ab", buffering=0) as payload:
                payload.write(b"a" * 100 + b"\n")
                assert await queue.get() == "a" * 100
                logs.trim_log(log, keep=50)
                payload.write(b"after trimming\n")
                assert await queue.get() == "after trimming"
            log.rename(tmp_path / "log.2")
            log.write_bytes(b"a new file\n")
            assert await queue.get() == "a new file"
            _append(log, b"and on\n")
            assert await queue.get() == "and on"

    asyncio.run(story())


def test_following_a_quiet_log_uses_no_processor(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n")

    async def story() -> float:
        async with _following(log) as queue:
            await queue.get()
            before = os.times()
            await asyncio.sleep(0.5)
            after = os.times()
        return (after.user + after.system) - (before.user + before.system)

    assert asyncio.run(story()) < 0.1


def test_trimming_keeps_the_end_and_the_file(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 500 + b"tail")
    inode = log.stat().st_ino
    logs.trim_log(log, keep=600)
    assert log.stat().st_size == 504
    logs.trim_log(log, keep=100)
    assert (log.stat().st_ino, log.stat().st_size) == (inode, 0)
    assert (tmp_path / "log.1").read_bytes() == b"x" * 96 + b"tail"
    logs.trim_log(tmp_path / "none")
