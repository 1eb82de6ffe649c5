"""The pack comes out of the requester's own sandbox, and so do the words when it does not."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncGenerator

import pytest

from hyperhive import ports
from hyperhive.adapters.config_repo import policy, producer
from hyperhive.adapters.sandbox import memory
from hyperhive.domain import errors, ids
from rigs import direct_one_shots, hostile_packs, import_bench

SHA = "ab" * 20
GIT = ("git", "--no-replace-objects", "--no-optional-locks", "-C", "/agents/alice/config")
FIND = (*GIT, "rev-parse", "--verify", "--end-of-options", f"{SHA[:8]}^{{commit}}")
PACK = (*GIT, "pack-objects")
AGENT = ids.AgentId("a11ce0000001")


async def _sleep(inside: memory.Inside) -> int:
    return await asyncio.get_running_loop().create_future()


def _tell(
    tmp_path: pathlib.Path,
    found: ports.ExecResult,
    pack: ports.ExecResult,
    limits: policy.Limits = producer.LIMITS,
) -> list[bytes]:
    asked: list[bytes] = []

    def answer(_spec: ports.SandboxSpec, stdin: bytes) -> ports.ExecResult:
        asked.append(stdin)
        return pack

    async def story() -> list[bytes]:
        world = memory.World()
        world.program("sleep", payload=_sleep)
        world.command(*FIND, result=lambda _spec, _stdin: found)
        world.command(*PACK, result=answer)
        sandbox = memory.MemorySandbox(world)
        spec = ports.SandboxSpec(
            agent=AGENT, name="manager", uid=1000, argv=("sleep",), env={}, cwd="/", binds=(),
            limits=ports.Limits(), log=tmp_path / "log", run_dir=tmp_path / "run",
        )  # fmt: skip
        started = await sandbox.start(spec)
        produce = producer.in_sandbox(
            sandbox, AGENT, started.identity, ids.AgentName("alice"), limits
        )
        try:
            return [piece async for piece in produce(SHA[:8])]
        finally:
            await sandbox.kill(AGENT, started.identity)

    pieces = asyncio.run(story())
    assert asked == [f"{SHA}\n".encode()]
    return pieces


def _ok(stdout: bytes) -> ports.ExecResult:
    return ports.ExecResult(0, stdout, b"")


def test_first_the_commit_then_the_pack(tmp_path: pathlib.Path) -> None:
    body = bytes(range(256)) * 10_000
    line, *pack = _tell(tmp_path, _ok(f"{SHA}\n".encode()), _ok(body))
    assert line == f"{SHA}\n".encode()
    assert b"".join(pack) == body


@pytest.mark.parametrize("step", ["find", "pack"])
def test_gits_words_come_escaped(tmp_path: pathlib.Path, step: str) -> None:
    failed = ports.ExecResult(128, b"", b"fatal: \x1b[2J no such thing\n" + b"x" * 5000)
    found = failed if step == "find" else _ok(f"{SHA}\n".encode())
    with pytest.raises(errors.HiveError, match=r"fatal: \\u\{001b\}\[2J no such") as caught:
        _tell(tmp_path, found, failed)
    assert caught.value.kind is errors.ErrorKind.INVALID
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 700


def test_too_much_is_refused(tmp_path: pathlib.Path) -> None:
    limits = policy.Limits(pack_bytes=1000)
    with pytest.raises(errors.HiveError, match=r"cannot import abababab: .* more than") as caught:
        _tell(tmp_path, _ok(f"{SHA}\n".encode()), _ok(bytes(3 * 2**20)), limits)
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


@pytest.mark.parametrize("moment", ["receiving", "unpacking"])
def test_a_cancelled_import_leaves_nothing(tmp_path: pathlib.Path, moment: str) -> None:
    closed, reached = False, asyncio.Event()

    class Slow(direct_one_shots.DirectOneShots):
        async def run(self, order, **more):  # type: ignore[no-untyped-def]
            reached.set()
            await asyncio.get_running_loop().create_future()

    async def stream(_ref: str) -> AsyncGenerator[bytes, None]:
        nonlocal closed
        sent = hostile_packs.sent(*hostile_packs.plain())
        try:
            async for piece in sent.stream():
                yield piece
            if moment == "receiving":
                reached.set()
                await asyncio.get_running_loop().create_future()
        finally:
            closed = True

    async def story() -> import_bench.ImportBench:
        bench = import_bench.ImportBench(tmp_path, Slow())
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(bench.bring(stream, hostile_packs.plain()[1]))
            await reached.wait()
            task.cancel()
        return bench

    bench = asyncio.run(story())
    assert closed
    assert bench.left() == []
    assert not bench.locked
    assert bench.refs() == {}
