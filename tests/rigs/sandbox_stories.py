"""What every `ports.Sandbox` promises, as stories that need no pytest.

`contracts/test_sandbox.py` tells them to the memory twin and to the real thing; as root it also
has them told by an ordinary user, on the system's own Python (`sandbox_bench`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from hyperhive import ports
from hyperhive.domain import agents, errors, ids

TALK = ("sh", "-c", "echo hello; exec sleep 600")
EXIT = ("sh", "-c", "echo bye; exit 7")
DEAF = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 600; done")
ASK = (
    "bash",
    "-c",
    "exec 3<>/dev/tcp/127.0.0.1/3128 || exit 9; echo ping >&3; read -r reply <&3; echo got $reply",
)
MISSING = ("no-such-program",)
ECHO = ("sh", "-c", "cat; echo oops >&2; exit 4")

PORT = 3128
Story = Callable[["Bench"], Awaitable[None]]


class Bench(Protocol):
    """What a story is told on."""

    sandbox: ports.Sandbox

    def restart(self) -> ports.Sandbox:
        """Another daemon on the same host."""
        ...

    def spec(self, argv: tuple[str, ...]) -> ports.SandboxSpec:
        """A spec for the first agent; `dataclasses.replace` makes others."""
        ...


async def shows(log: pathlib.Path, text: str) -> None:
    """Return as soon as the log holds *text*."""
    async with asyncio.timeout(20):
        while not log.exists() or text not in log.read_text(errors="replace"):
            await asyncio.sleep(0.01)


async def starts_and_stops(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "hello")
    assert await bench.sandbox.is_running(spec.agent, started.identity)
    await bench.sandbox.stop(spec.agent, started.identity, 10)
    assert not await bench.sandbox.is_running(spec.agent, started.identity)
    end = await bench.sandbox.wait(spec.agent, started.identity)
    assert end.code == 128 + signal.SIGTERM
    assert end.reason


async def tells_the_exit_code_again_and_again(bench: Bench) -> None:
    spec = bench.spec(EXIT)
    started = await bench.sandbox.start(spec)
    for _ in range(2):
        assert (await bench.sandbox.wait(spec.agent, started.identity)).code == 7
    assert not await bench.sandbox.is_running(spec.agent, started.identity)
    assert "bye" in spec.log.read_text()


async def ends_what_does_not_listen(bench: Bench) -> None:
    spec = bench.spec(DEAF)
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "deaf")
    begin = time.monotonic()
    await bench.sandbox.stop(spec.agent, started.identity, 0.3)
    assert 0.3 <= time.monotonic() - begin < 5
    assert not await bench.sandbox.is_running(spec.agent, started.identity)
    end = await bench.sandbox.wait(spec.agent, started.identity)
    assert end.code == 128 + signal.SIGKILL


async def is_adopted_by_another_daemon(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "hello")
    second = bench.restart()
    assert await second.is_running(spec.agent, started.identity)
    assert await second.find_left(spec.agent, spec.run_dir) == started.identity
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(second.wait(spec.agent, started.identity))
        await asyncio.sleep(0)
        await second.stop(spec.agent, started.identity, 10)
    assert waiting.result().code == 128 + signal.SIGTERM
    assert await second.find_left(spec.agent, spec.run_dir) is None


async def keeps_the_exit_code_for_a_later_daemon(bench: Bench) -> None:
    spec = bench.spec(EXIT)
    started = await bench.sandbox.start(spec)
    async with asyncio.timeout(20):
        while await bench.sandbox.is_running(spec.agent, started.identity):
            await asyncio.sleep(0.01)
    assert (await bench.restart().wait(spec.agent, started.identity)).code == 7


async def opens_ports_before_the_payload_runs(bench: Bench) -> None:
    spec = dataclasses.replace(bench.spec(ASK), ports=(PORT,))
    started = await bench.sandbox.start(spec)
    assert await _answer(started.listeners[PORT]) == b"ping\n"
    assert (await bench.sandbox.wait(spec.agent, started.identity)).code == 0
    assert "got pong" in spec.log.read_text()


async def opens_a_port_again(bench: Bench) -> None:
    spec = dataclasses.replace(bench.spec(TALK), ports=(PORT,))
    started = await bench.sandbox.start(spec)
    try:
        await _refused(bench.sandbox.open_port(spec.agent, started.identity, PORT))
        started.listeners[PORT].close()
        second = bench.restart()
        listener = await second.open_port(spec.agent, started.identity, PORT)
        listener.close()
    finally:
        await bench.sandbox.kill(spec.agent, started.identity)


async def starts_once_per_agent(bench: Bench) -> None:
    spec = bench.spec(TALK)
    first = await bench.sandbox.start(spec)
    second = await bench.restart().start(spec)
    try:
        assert first.identity != second.identity
        assert not await bench.sandbox.is_running(spec.agent, first.identity)
        assert await bench.sandbox.is_running(spec.agent, second.identity)
    finally:
        await bench.sandbox.kill(spec.agent, second.identity)


async def keeps_agents_apart(bench: Bench) -> None:
    one = bench.spec(TALK)
    two = dataclasses.replace(
        bench.spec(TALK),
        agent=ids.new_agent_id(),
        name="bob",
        run_dir=one.run_dir.with_name("run2"),
        log=one.log.with_name("log2"),
    )
    first, second = await bench.sandbox.start(one), await bench.sandbox.start(two)
    await bench.sandbox.kill(one.agent, first.identity)
    assert await bench.sandbox.is_running(two.agent, second.identity)
    assert await bench.sandbox.find_left(one.agent, one.run_dir) is None
    await bench.sandbox.kill(two.agent, second.identity)


async def trusts_no_bare_pid(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    real = started.identity
    for wrong in (
        dataclasses.replace(real, start_time=real.start_time + 1),
        dataclasses.replace(real, boot_id="another boot"),
        agents.SandboxIdentity(real.boot_id, 1, 0),
    ):
        assert not await bench.sandbox.is_running(spec.agent, wrong)
        await bench.sandbox.kill(spec.agent, wrong)
        await bench.sandbox.stop(spec.agent, wrong, 0.1)
        assert (await bench.sandbox.wait(spec.agent, wrong)).code is None
    assert await bench.sandbox.is_running(spec.agent, real)
    await bench.sandbox.kill(spec.agent, real)


async def runs_commands_inside(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    try:
        for sandbox in (bench.sandbox, bench.restart()):
            result = await sandbox.exec(spec.agent, started.identity, ECHO, stdin=b"text")
            assert result == ports.ExecResult(4, b"text", b"oops\n")
        enough = bench.sandbox.exec(
            spec.agent, started.identity, ECHO, stdin=b"text", output_limit=4
        )
        await _refused(enough)
        missing = await bench.sandbox.exec(spec.agent, started.identity, MISSING)
        assert missing.code == 127
        assert b"no-such-program" in missing.stderr
    finally:
        await bench.sandbox.kill(spec.agent, started.identity)


async def counts(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "hello")
    stats = await bench.sandbox.stats(spec.agent, started.identity)
    assert stats.processes is not None
    assert 1 <= stats.processes <= 4
    assert stats.memory_bytes is None or 0 < stats.memory_bytes < 64 * 1024 * 1024
    await bench.sandbox.kill(spec.agent, started.identity)
    assert (await bench.sandbox.stats(spec.agent, started.identity)).processes == 0


async def says_when_it_does_not_run(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    await bench.sandbox.kill(spec.agent, started.identity)
    await bench.sandbox.kill(spec.agent, started.identity)
    await bench.sandbox.stop(spec.agent, started.identity, 1)
    await _refused(bench.sandbox.open_port(spec.agent, started.identity, PORT))
    await _refused(bench.sandbox.exec(spec.agent, started.identity, ECHO))


async def refuses_bad_specs(bench: Bench) -> None:
    spec = bench.spec(TALK)
    for bad in (dataclasses.replace(spec, argv=()), dataclasses.replace(spec, uid=0)):
        try:
            await bench.sandbox.start(bad)
        except errors.HiveError as error:
            assert error.kind is errors.ErrorKind.INVALID
            assert spec.name in error.message
        else:
            raise AssertionError("started")
    assert await bench.sandbox.find_left(spec.agent, spec.run_dir) is None


async def can_stop_waiting(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    try:
        async with asyncio.timeout(0.1):
            await bench.sandbox.wait(spec.agent, started.identity)
    except TimeoutError:
        pass
    else:
        raise AssertionError("it had not ended")
    assert await bench.sandbox.is_running(spec.agent, started.identity)
    await bench.sandbox.kill(spec.agent, started.identity)


async def follows_the_log(bench: Bench) -> None:
    spec = bench.spec(TALK)
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "hello")
    seen: list[str] = []
    async for line in bench.sandbox.follow_log(spec.log, lines=5, follow=False):
        seen.append(line)
    assert seen[-1] == "hello"
    await bench.sandbox.kill(spec.agent, started.identity)


async def looks_at_the_host(bench: Bench) -> None:
    findings = await bench.sandbox.probe()
    assert findings
    assert [f for f in findings if f.severity is ports.Severity.BROKEN] == []
    assert all(f.topic and f.text for f in findings)
    assert all(f.remedy for f in findings if f.severity is not ports.Severity.OK)


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        starts_and_stops,
        tells_the_exit_code_again_and_again,
        ends_what_does_not_listen,
        is_adopted_by_another_daemon,
        keeps_the_exit_code_for_a_later_daemon,
        opens_ports_before_the_payload_runs,
        opens_a_port_again,
        starts_once_per_agent,
        keeps_agents_apart,
        trusts_no_bare_pid,
        runs_commands_inside,
        counts,
        says_when_it_does_not_run,
        refuses_bad_specs,
        can_stop_waiting,
        follows_the_log,
        looks_at_the_host,
    )
}


async def _answer(listener: object) -> bytes:
    """Accept one connection from inside, read a line and say pong."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.readline())
        writer.write(b"pong\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, sock=listener)  # type: ignore[arg-type]
    async with server, asyncio.timeout(20):
        return await got


async def _refused(call: Awaitable[object]) -> None:
    try:
        await call
    except errors.HiveError as error:
        assert error.kind is errors.ErrorKind.UNAVAILABLE
    else:
        raise AssertionError("not refused")
