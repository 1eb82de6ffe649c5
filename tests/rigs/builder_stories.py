"""What every `ports.Builder` promises, as stories for the twin and for the real ones."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from hyperhive import ports
from hyperhive.domain import configuration, errors, ids

ALICE = ids.AgentId("a11ce0000001")
BOB = ids.AgentId("b0b000000002")
SHA = "5ca1ab1e" * 5
NOTHING = configuration.Packages()
MISSING = "no-such-package"


class Bench(Protocol):
    """What a story is told on."""

    top: pathlib.Path
    builder: ports.Builder
    small: configuration.Packages
    """One small package that can really be had."""

    def restart(self) -> ports.Builder:
        """Another daemon on the same disk."""
        ...


Story = Callable[[Bench], Coroutine[Any, Any, None]]


def order(
    bench: Bench,
    packages: configuration.Packages = NOTHING,
    agent: ids.AgentId = ALICE,
    **more: Any,
) -> ports.BuildOrder:
    """An order for a commit that holds one file."""
    source = bench.top / "commit"
    source.mkdir(exist_ok=True)
    (source / "motd").write_text("be kind\n")
    (source / "motd").chmod(0o755)
    return ports.BuildOrder(
        agent=agent,
        name=ids.AgentName("alice"),
        role="agent",
        sha=SHA,
        source=source,
        configuration=configuration.Configuration(packages=packages, files=more.pop("files", {})),
        lock=more.pop("lock", {}),
        **more,
    )


async def refused(work: Coroutine[Any, Any, object], kind: errors.ErrorKind) -> str:
    """Return the message of the `HiveError` of that kind that *work* ends with."""
    try:
        await work
    except errors.HiveError as error:
        assert error.kind is kind, error
        return error.message
    raise AssertionError("it was not refused")


async def an_empty_configuration_is_built_at_once(bench: Bench) -> None:
    lines: list[str] = []
    made = await bench.builder.build(order(bench), lines.append)
    assert made.built_from == bench.builder.built_from()
    assert made.lowers == () and made.binds == () and made.lock == {}
    assert await bench.builder.find(made.id) == made
    assert await bench.restart().find(made.id) == made
    assert await bench.builder.build(order(bench, agent=BOB), lines.append) == made


async def a_package_is_built_once(bench: Bench) -> None:
    lines: list[str] = []
    made = await bench.builder.build(order(bench, bench.small), lines.append)
    assert lines
    assert made.lock
    assert await bench.restart().find(made.id) == made
    again = await bench.builder.build(order(bench, bench.small, BOB), lines.append)
    assert again == made
    locked = order(bench, bench.small, lock=made.lock)
    assert (await bench.builder.build(locked, lines.append)).lock == made.lock


async def a_missing_package_fails_cleanly(bench: Bench) -> None:
    lines: list[str] = []
    bad = order(bench, dataclasses.replace(bench.small, apt=(MISSING,)))
    said = await refused(bench.builder.build(bad, lines.append), errors.ErrorKind.INVALID)
    assert said.startswith("cannot build alice: ") and MISSING in said.splitlines()[0]
    assert any(MISSING in line for line in lines)
    assert (await bench.builder.build(order(bench), lines.append)).lock == {}


async def a_missing_file_fails_cleanly(bench: Bench) -> None:
    bad = order(bench, files={"/opt/motd": "no/such/file"})
    said = await refused(bench.builder.build(bad, print), errors.ErrorKind.INVALID)
    assert "no/such/file" in said


async def files_are_part_of_a_generation(bench: Bench) -> None:
    good = order(bench, files={"/opt/motd": "motd"})
    made = await bench.builder.build(good, print)
    assert await bench.builder.build(good, print) == made
    (good.source / "motd").write_text("be quick\n")
    other = await bench.builder.build(good, print)
    assert other.id != made.id


async def activating_wants_a_generation(bench: Bench) -> None:
    made = await bench.builder.build(order(bench), print)
    await bench.builder.activate(ALICE, made.id)
    await bench.builder.activate(ALICE, made.id)
    unknown = bench.builder.activate(ALICE, ids.GenerationId("0" * 32))
    await refused(unknown, errors.ErrorKind.NOT_FOUND)
    await bench.builder.activate(ALICE, None)
    await bench.builder.activate(ALICE, None)


async def collecting_keeps_what_is_wanted(bench: Bench) -> None:
    kept = await bench.builder.build(order(bench), print)
    used = await bench.builder.build(order(bench, files={"/opt/a": "motd"}), print)
    gone = await bench.builder.build(order(bench, files={"/opt/b": "motd"}), print)
    await bench.builder.activate(ALICE, used.id)
    assert await bench.builder.collect({kept.id}) > 0
    assert await bench.builder.find(kept.id) == kept
    assert await bench.builder.find(used.id) == used
    assert await bench.builder.find(gone.id) is None
    assert await bench.builder.collect({kept.id, used.id}) == 0
    assert await bench.builder.build(order(bench, files={"/opt/b": "motd"}), print) == gone


async def inputs_are_renewed_by_name(bench: Bench) -> None:
    lines: list[str] = []
    before = {item.name: item for item in await bench.builder.inputs()}
    built_from = bench.builder.built_from()
    assert before
    unknown = bench.builder.update_inputs(["no-such-input"], lines.append)
    assert "no-such-input" in await refused(unknown, errors.ErrorKind.NOT_FOUND)
    assert bench.builder.built_from() == built_from
    name = "pip"
    after = {item.name: item for item in await bench.builder.update_inputs([name], lines.append)}
    assert after[name] != before[name]
    assert {key: item for key, item in after.items() if key != name} == {
        key: item for key, item in before.items() if key != name
    }
    assert bench.builder.built_from() != built_from
    assert bench.restart().built_from() == bench.builder.built_from()


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        an_empty_configuration_is_built_at_once,
        a_package_is_built_once,
        a_missing_package_fails_cleanly,
        a_missing_file_fails_cleanly,
        files_are_part_of_a_generation,
        activating_wants_a_generation,
        collecting_keeps_what_is_wanted,
        inputs_are_renewed_by_name,
    )
}


async def until(event: asyncio.Event) -> None:
    """Wait for something that must happen soon."""
    async with asyncio.timeout(60):
        await event.wait()
