"""The mirror loop: what is marked is pushed, what fails is tried again, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.mirror.memory import MemoryMirror
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, errors, events
from hyperhive.runtime import mirror_loop
from hyperhive.services import mirroring

OLGA = access.operator("page")
CHANGED = events.EventKind.MIRROR_CHANGED


class _Mirror(MemoryMirror):
    bug: Exception | None = None
    gate: asyncio.Event | None = None

    async def sync(self, target: ports.MirrorTarget) -> int:
        if self.gate is not None:
            await self.gate.wait()
        if self.bug is not None:
            raise self.bug
        return await super().sync(target)


class _House:
    def __init__(self, *names: str, configured: bool = True) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.mirror = _Mirror()
        self.refs = {name: {"refs/heads/main": "1" * 40} for name in names}
        self.broken: Exception | None = None
        self.looks = 0
        mirror = self.mirror if configured else None
        self.board = mirroring.Mirroring(
            self.store, MemorySecrets(), self.clock, mirror,
            url="http://forge" if configured else "", organisation="agent-configs",
        )  # fmt: skip
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        self.loop = mirror_loop.MirrorLoop(
            mirror, self.targets, self.board, self.store, self.clock, log, jitter=lambda: 1.0
        )

    async def targets(self) -> list[ports.MirrorTarget]:
        self.looks += 1
        if self.broken is not None:
            raise self.broken
        return [ports.MirrorTarget(name, "/none", dict(refs)) for name, refs in self.refs.items()]

    async def tag(self, name: str, number: int, *, mark: bool = True) -> None:
        """A ref changes, and whoever changed it says so."""
        self.refs[name][f"refs/tags/deployed/{number}"] = "2" * 40
        if mark:
            event = events.Event(events.EventKind.DEPLOY_MOVED, topics=(events.MIRROR,))
            await self.store.write(lambda tx: tx.record(event))

    async def rest(self) -> None:
        """Wait until the loop sleeps and has nothing to do before the clock moves."""
        for _ in range(60):
            await asyncio.sleep(0)
        assert self.clock.sleepers == 1

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.rest()

    def row(self, name: str) -> dict[str, object]:
        [row] = [row for row in self.board.status()["repositories"] if row["name"] == name]
        return row

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.board.status()["repositories"]}

    async def facts(self) -> list[str]:
        found = await self.store.read(lambda tx: tx.facts_after(0, 1000))
        return [fact.event.text for fact in found if fact.event.kind is CHANGED]

    def synced(self) -> list[str]:
        """What was asked for since the last call."""
        asked = list(self.mirror.syncs)
        self.mirror.syncs.clear()
        return asked

    def in_step(self) -> bool:
        return all(self.mirror.kept[name].refs == refs for name, refs in self.refs.items())


def _play(house: _House, story: Callable[[_House], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            await house.rest()
            await story(house)
            task.cancel()

    asyncio.run(main())


def _down(fault: ports.Fault = ports.Fault.UNREACHABLE, after: float | None = None):
    return ports.MirrorError(fault, f"cannot push: {fault.value}", after)


def test_all_is_pushed_at_start_and_marks_bring_the_rest():
    async def story(house: _House) -> None:
        assert house.in_step()
        assert house.states() == {"coder": "in_step", "meta": "in_step"}
        assert house.synced() == ["coder", "meta"]
        await house.tag("meta", 1)
        await house.rest()
        assert house.in_step()
        assert house.synced() == ["meta"]
        # A deploy that is mirrored at once is no news.
        assert await house.facts() == ["2 in step"]

    _play(_House("coder", "meta"), story)


def test_a_mark_without_a_change_asks_nobody():
    async def story(house: _House) -> None:
        house.synced()
        event = events.Event(events.EventKind.DEPLOY_MOVED, topics=(events.MIRROR,))
        await house.store.write(lambda tx: tx.record(event))
        await house.rest()
        assert house.looks == 2
        assert house.synced() == []

    _play(_House("coder"), story)


def test_a_lost_mark_costs_ten_minutes_and_the_forge_is_asked_too():
    async def story(house: _House) -> None:
        house.synced()
        await house.tag("coder", 1, mark=False)
        await house.advance(mirror_loop.PERIOD - 1)
        assert house.looks == 1
        await house.advance(1)
        assert house.synced() == ["coder", "meta"]
        assert house.in_step()

    _play(_House("coder", "meta"), story)


def test_a_forge_that_is_down_is_tried_ever_less_often_and_said_once():
    async def story(house: _House) -> None:
        house.mirror.fault = _down()
        since = house.clock.now().isoformat()
        await house.tag("coder", 1)
        await house.rest()
        row = house.row("coder")
        assert row["state"] == "error"
        assert row["error"] == "cannot push: unreachable"
        assert (row["lag_refs"], row["behind_since"]) == (1, since)
        assert row["last_ok"] == since
        looks: list[float] = []
        start = house.clock.monotonic()
        seen = house.looks
        for _ in range(850):
            await house.advance(1)
            if house.looks != seen:
                seen = house.looks
                looks.append(house.clock.monotonic() - start)
        assert looks == [1, 3, 7, 15, 31, 63, 127, 255, 511, 600, 811]
        assert await house.facts() == ["2 in step", "1 in step, 1 error", "2 error"]
        # The second one is known to be wrong since the forge was to be asked about it too.
        house.mirror.fault = None
        await house.advance(mirror_loop.PAUSE_MAX)
        assert house.in_step()
        assert house.row("coder")["error"] == ""
        assert house.row("coder")["behind_since"] is None
        assert (await house.facts())[-1] == "2 in step"

    _play(_House("coder", "meta"), story)


def test_marks_during_a_pause_do_not_press_the_forge():
    async def story(house: _House) -> None:
        attempts = 0

        async def prepare() -> None:
            nonlocal attempts
            attempts += 1
            raise _down(ports.Fault.BUSY, after=40)

        house.mirror.prepare = prepare  # type: ignore[method-assign]
        for number in range(5):
            await house.tag("coder", number)
            await house.rest()
        assert attempts == 1
        assert house.row("coder")["lag_refs"] == 5
        await house.advance(39)
        assert attempts == 1
        await house.advance(1)
        assert attempts == 2

    _play(_House("coder"), story)


def test_one_that_is_refused_does_not_hold_up_the_others():
    async def story(house: _House) -> None:
        house.synced()
        house.mirror.faults["coder"] = _down(ports.Fault.REFUSED)
        await house.tag("coder", 1)
        await house.rest()
        assert house.states() == {"coder": "error", "meta": "in_step"}
        assert house.synced() == ["coder"]
        await house.tag("meta", 1)
        await house.rest()
        assert house.synced() == ["meta"]
        await house.tag("meta", 2, mark=False)
        await house.advance(1)
        assert house.synced() == ["meta", "coder"]
        house.mirror.faults.clear()
        await house.advance(2)
        assert house.in_step()
        assert set(house.states().values()) == {"in_step"}

    _play(_House("coder", "meta"), story)


def test_one_that_hangs_does_not_hold_up_the_others_when_the_forge_is_well():
    house = _House("coder", "meta", "tester")
    house.mirror.faults["coder"] = _down(ports.Fault.SLOW)

    async def story(house: _House) -> None:
        assert house.synced() == ["coder", "meta", "tester"]
        assert house.states() == {"coder": "error", "meta": "in_step", "tester": "in_step"}

    _play(house, story)


def test_a_new_token_ends_every_pause():
    async def story(house: _House) -> None:
        assert house.states() == {"coder": "error"}
        house.mirror.fault = None
        found = await house.board.set_token(OLGA, "f" * 40)
        assert [each.severity for each in found] == [ports.Severity.OK]
        await house.rest()
        assert house.states() == {"coder": "in_step"}

    house = _House("coder")
    house.mirror.fault = _down(ports.Fault.UNAUTHORISED, after=3000)
    _play(house, story)


def test_without_a_forge_nothing_ever_wakes_it():
    async def main() -> None:
        house = _House("coder", configured=False)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            for _ in range(50):
                await asyncio.sleep(0)
            await house.tag("coder", 1)
            house.clock.advance(10 * mirror_loop.PERIOD)
            for _ in range(50):
                await asyncio.sleep(0)
            assert house.clock.sleepers == 0
            assert house.looks == 0
            assert house.board.status() == {
                "configured": False, "url": "", "organisation": "agent-configs",
                "repositories": [],
            }  # fmt: skip
            assert await house.board.findings() == []
            task.cancel()

    asyncio.run(main())


def test_what_goes_wrong_here_is_survived():
    async def story(house: _House) -> None:
        house.mirror.bug = ValueError("surprise")
        await house.tag("coder", 1)
        await house.rest()
        assert house.row("coder")["state"] == "error"
        assert "a bug" in str(house.row("coder")["error"])
        house.mirror.bug = None
        for broken in (errors.not_found("cannot look: it was destroyed"), OSError("full")):
            house.broken = broken
            await house.tag("coder", 2)
            await house.advance(60)
        house.broken = None
        await house.advance(60)
        assert house.in_step()

    _play(_House("coder"), story)


def test_one_that_is_gone_here_is_no_longer_shown():
    async def story(house: _House) -> None:
        del house.refs["coder"]
        await house.tag("meta", 1)
        await house.rest()
        assert house.states() == {"meta": "in_step"}
        assert "coder" in house.mirror.kept

    _play(_House("coder", "meta"), story)


def test_nobody_waits_for_a_push_and_many_changes_are_one():
    async def story(house: _House) -> None:
        house.synced()
        house.mirror.gate = asyncio.Event()
        for number in range(100):
            await house.tag("coder", number)
        # It hangs in the first; all hundred were written meanwhile.
        assert house.store.number() >= 100
        assert house.row("coder")["state"] == "behind"
        house.mirror.gate.set()
        await house.rest()
        assert house.in_step()
        assert len(house.synced()) <= 2

    _play(_House("coder"), story)


def test_a_push_that_takes_long_is_announced_before():
    async def story(house: _House) -> None:
        house.mirror.gate = asyncio.Event()
        for number in range(60):
            await house.tag("coder", number, mark=False)
        await house.tag("coder", 60)
        for _ in range(50):
            await asyncio.sleep(0)
        assert await house.facts() == ["1 in step", "1 behind"]
        house.mirror.gate.set()
        await house.rest()
        assert await house.facts() == ["1 in step", "1 behind", "1 in step"]

    _play(_House("coder"), story)
