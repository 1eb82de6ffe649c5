"""What every `ports.Processes` promises; the memory twin gets the answers that a shell gives."""

from __future__ import annotations

import asyncio
import os
import pathlib
import time

import pytest

from hyperhive import ports
from hyperhive.adapters.process import host, memory
from hyperhive.domain import errors

EVERY = pytest.mark.parametrize("kind", ["memory", "host"])
FOREVER = ("sh", "-c", "sleep 600")
BIG = ("sh", "-c", "head -c 5000 /dev/zero")
MIXED = ("sh", "-c", "echo out; echo err >&2; exit 3")


def _make(kind: str) -> ports.Processes:
    if kind == "host":
        return host.HostProcesses()
    result = ports.ProcessResult
    twin = memory.MemoryProcesses()
    twin.answer(*MIXED, result=result(3, b"out\n", b"err\n"))
    twin.answer(*FOREVER, result=None)
    twin.answer(*BIG, result=result(0, bytes(5000), b""))
    twin.answer("cat", result=lambda call: result(0, call.stdin, b""))
    twin.answer("printenv", result=lambda call: result(0, call.env["GIVEN"].encode() + b"\n", b""))
    twin.answer("pwd", result=lambda call: result(0, f"{call.cwd}\n".encode(), b""))
    return twin


@EVERY
def test_gives_code_and_both_outputs(kind: str) -> None:
    assert asyncio.run(_make(kind).run(MIXED)) == ports.ProcessResult(3, b"out\n", b"err\n")


@EVERY
def test_hands_over_stdin_environment_and_directory(kind: str, tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        processes = _make(kind)
        text = b"x" * 300_000
        assert (await processes.run(["cat"], stdin=text)).stdout == text
        (tmp_path / "input").write_bytes(text)
        assert (await processes.run(["cat"], stdin=tmp_path / "input")).stdout == text
        given = await processes.run(["printenv", "GIVEN"], env={"GIVEN": "yes"})
        assert given.stdout == b"yes\n"
        where = await processes.run(["pwd"], cwd=tmp_path)
        assert where.stdout == f"{tmp_path}\n".encode()

    asyncio.run(story())


@EVERY
def test_a_program_that_never_ends_is_ended(kind: str) -> None:
    with pytest.raises(errors.HiveError, match=r"longer than 0\.2 s") as caught:
        asyncio.run(_make(kind).run(FOREVER, timeout=0.2))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


@EVERY
def test_a_missing_program_is_named(kind: str) -> None:
    with pytest.raises(errors.HiveError, match="cannot run no-such-program") as caught:
        asyncio.run(_make(kind).run(["no-such-program"]))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


@EVERY
def test_too_much_output_is_refused_not_cut(kind: str) -> None:
    with pytest.raises(errors.HiveError, match="more than 4000 bytes") as caught:
        asyncio.run(_make(kind).run(BIG, output_limit=4000))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


@EVERY
def test_lines_are_streamed(kind: str) -> None:
    seen: list[str] = []
    asyncio.run(_make(kind).run(MIXED, on_line=seen.append))
    assert sorted(seen) == ["err", "out"]


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "do not leak")
    result = asyncio.run(host.HostProcesses().run(["env"], env={"GIVEN": "yes"}))
    names = {line.split(b"=")[0] for line in result.stdout.splitlines()}
    # The shell of some hosts adds PWD and friends; env itself adds nothing.
    assert names == {b"PATH", b"LC_ALL", b"GIVEN"}


def test_timeout_and_cancellation_end_the_whole_group(tmp_path: pathlib.Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; wait"

    async def story() -> None:
        processes = host.HostProcesses()
        with pytest.raises(errors.HiveError):
            await processes.run(["sh", "-c", script], timeout=0.5)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(processes.run(["sh", "-c", script]))
            while len(pids.read_text().split()) < 4:
                await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(story())
    deadline = time.monotonic() + 5
    left = [int(pid) for pid in pids.read_text().split()]
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _alive(pid)]
    assert left == []


def _alive(pid: int) -> bool:
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # An orphan that init has not reaped yet is as good as gone.
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_child_that_holds_the_output_does_not_hold_the_call() -> None:
    async def story() -> bytes:
        script = "setsid sleep 4 & echo done"
        return (await host.HostProcesses().run(["sh", "-c", script], timeout=10)).stdout

    begin = time.monotonic()
    assert asyncio.run(story()) == b"done\n"
    assert time.monotonic() - begin < 3.5


def test_file_descriptors_are_passed_on_request_only() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        script = ["sh", "-c", f"echo hello > /dev/fd/{write}"]
        processes = host.HostProcesses()
        assert asyncio.run(processes.run(script)).code != 0
        assert asyncio.run(processes.run(script, pass_fds=[write])).code == 0
        assert os.read(read, 100) == b"hello\n"
    finally:
        os.close(read)
        os.close(write)


def test_a_long_line_comes_in_pieces() -> None:
    seen: list[str] = []
    script = ["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; printf end"]
    asyncio.run(host.HostProcesses().run(script, on_line=seen.append))
    assert "".join(seen[:-1]) == "x" * 100000
    assert max(map(len, seen)) <= host.LINE_LIMIT
    assert seen[-1] == "end"
