"""The sandbox contract, told to the memory twin, to the real thing, and as an ordinary user."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.sandbox import memory
from hyperhive.domain import errors, ids
from rigs import sandbox_bench
from rigs import sandbox_stories as stories

EVERY_STORY = pytest.mark.parametrize("story", stories.STORIES)


class MemoryBench:
    """The twin, with the programs of the stories."""

    def __init__(self, top: pathlib.Path) -> None:
        self._top = top
        self.world = memory.World()
        self.world.program(*stories.TALK, payload=_talk)
        self.world.program(*stories.EXIT, payload=_exit)
        self.world.program(*stories.DEAF, payload=_deaf)
        self.world.program(*stories.ASK, payload=_ask)
        self.world.command(
            *stories.ECHO, result=lambda spec, stdin: ports.ExecResult(4, stdin, b"oops\n")
        )
        self.sandbox: ports.Sandbox = self.restart()

    def restart(self) -> ports.Sandbox:
        return memory.MemorySandbox(self.world)

    def spec(self, argv: tuple[str, ...]) -> ports.SandboxSpec:
        return ports.SandboxSpec(
            agent=ids.AgentId("a11ce0000001"),
            name="alice",
            uid=sandbox_bench.AGENT_UID,
            argv=argv,
            env={},
            cwd="/",
            binds=(),
            limits=ports.Limits(),
            log=self._top / "log",
            run_dir=self._top / "run",
        )


async def _talk(inside: memory.Inside) -> int:
    inside.print("hello")
    await inside.terminated.wait()
    return memory.TERMINATED


async def _exit(inside: memory.Inside) -> int:
    inside.print("bye")
    return 7


async def _deaf(inside: memory.Inside) -> int:
    inside.print("deaf")
    return await asyncio.get_running_loop().create_future()


async def _ask(inside: memory.Inside) -> int:
    reader, writer = await inside.connect(stories.PORT)
    writer.write(b"ping\n")
    reply = await reader.readline()
    inside.print(f"got {reply.decode().strip()}")
    writer.close()
    return 0


@EVERY_STORY
def test_in_memory(story: str, home: pathlib.Path) -> None:
    asyncio.run(stories.STORIES[story](MemoryBench(home)))


@pytest.mark.system
@EVERY_STORY
def test_for_real(story: str, home: pathlib.Path) -> None:
    sandbox_bench.RealBench(home, "host").tell(stories.STORIES[story])


@pytest.mark.system
@pytest.mark.skipif(not sandbox_bench.ROOT, reason="test_for_real runs as an ordinary user already")
@EVERY_STORY
def test_for_real_as_an_ordinary_user(story: str, open_source: pathlib.Path) -> None:
    told = sandbox_bench.tell_as_ordinary_user(open_source, "sandbox_stories", story)
    assert told.stdout == "told\n", told.stderr


def _start_in(mode: memory.Mode, home: pathlib.Path) -> tuple[MemoryBench, ports.SandboxSpec]:
    bench = MemoryBench(home)
    bench.world.mode = mode
    return bench, bench.spec(stories.TALK)


def test_a_bad_host_refuses(home: pathlib.Path) -> None:
    async def story() -> None:
        bench, spec = _start_in(memory.Mode.BAD, home)
        with pytest.raises(errors.HiveError) as caught:
            await bench.sandbox.start(spec)
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
        findings = await bench.sandbox.probe()
        assert [f.severity for f in findings] == [ports.Severity.BROKEN]

    asyncio.run(story())


def test_a_start_that_never_comes_back_can_be_cancelled(home: pathlib.Path) -> None:
    async def story() -> None:
        bench, spec = _start_in(memory.Mode.NEVER, home)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bench.sandbox.start(spec)
        assert await bench.sandbox.find_left(spec.agent, spec.run_dir) is None

    asyncio.run(story())


def test_a_payload_that_dies_after_its_start_leaves_its_code(home: pathlib.Path) -> None:
    async def story() -> None:
        bench, spec = _start_in(memory.Mode.DIES, home)
        started = await bench.sandbox.start(spec)
        assert (await bench.sandbox.wait(spec.agent, started.identity)).code == 1

    asyncio.run(story())


def test_a_slow_start_takes_its_time_and_works(home: pathlib.Path) -> None:
    async def story() -> None:
        bench, spec = _start_in(memory.Mode.SLOW, home)
        begin = asyncio.get_running_loop().time()
        started = await bench.sandbox.start(spec)
        assert asyncio.get_running_loop().time() - begin >= bench.world.delay
        assert await bench.sandbox.is_running(spec.agent, started.identity)

    asyncio.run(story())


def test_after_a_reboot_nothing_runs_and_no_identity_holds(home: pathlib.Path) -> None:
    async def story() -> None:
        bench, spec = _start_in(memory.Mode.NORMAL, home)
        started = await bench.sandbox.start(spec)
        bench.world.reboot()
        assert not await bench.sandbox.is_running(spec.agent, started.identity)
        again = await bench.sandbox.start(spec)
        assert again.identity.boot_id != started.identity.boot_id

    asyncio.run(story())
