"""One suite for the live log on disk and its twin; then what only a disk can do wrong."""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import resource
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.live_log import encoding
from hyperhive.adapters.live_log.memory import MemoryLiveLog
from hyperhive.adapters.live_log.sqlite import WAITING_MAX, SqliteLiveLog
from hyperhive.domain import errors, ids

pytestmark = pytest.mark.timeout(30)

ALICE = ids.AgentId("a" * 12)
BOB = ids.AgentId("b" * 12)

Scenario = Callable[[ports.LiveLog, ManualClock], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Run:
    def start(scenario: Scenario) -> None:
        async def main() -> None:
            clock = ManualClock()
            log: ports.LiveLog
            if request.param == "memory":
                log = MemoryLiveLog(clock)
            else:
                log = await SqliteLiveLog.open(tmp_path / "live.db", clock)
            try:
                await scenario(log, clock)
            finally:
                await log.close()

        asyncio.run(main())

    return start


def lines(first: int, last: int) -> list[tuple[str, str, dict[str, int]]]:
    return [("turn", "text", {"n": number}) for number in range(first, last + 1)]


def test_numbers_are_each_agents_own(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        assert log.number(ALICE) == 0
        assert await log.append(ALICE, lines(1, 3)) == 3
        assert await log.append(BOB, lines(1, 1)) == 1
        assert await log.append(ALICE, lines(4, 4)) == 4
        assert await log.append(ALICE, []) == 4
        assert (log.number(ALICE), log.number(BOB)) == (4, 1)
        assert [event.data["n"] for event in await log.read(ALICE)] == [1, 2, 3, 4]
        assert [event.number for event in await log.read(BOB)] == [1]

    run(scenario)


def test_read_returns_the_newest_of_a_range_oldest_first(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        await log.append(ALICE, lines(1, 10))

        async def numbers(**given: int) -> list[int]:
            return [event.number for event in await log.read(ALICE, **given)]

        assert await numbers(after=7) == [8, 9, 10]
        assert await numbers(before=4) == [1, 2, 3]
        assert await numbers(after=2, before=6) == [3, 4, 5]
        assert await numbers(limit=2) == [9, 10]
        assert await numbers(before=6, limit=2) == [4, 5]
        assert await numbers(after=10) == []
        assert await numbers(limit=0) == []
        assert await numbers(after=2**70) == []
        assert await numbers(after=-5, before=2**70, limit=1) == [10]

    run(scenario)


def test_content_comes_back_as_it_went_in(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        data = {"text": "Grüße \x1b[31m\x00\ud800", "list": [1, 2.5, None, True], "deep": {"a": {}}}
        await log.append(ALICE, [("turn-1", "tool \ud800", data)])
        (event,) = await log.read(ALICE)
        assert event.data == data
        assert event.turn == "turn-1"
        assert event.kind == "tool ?"
        assert event.at == clock.now()

    run(scenario)


def test_oversized_data_is_replaced_by_a_note(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        await log.append(ALICE, [("t", "text", {"text": "x" * encoding.DATA_MAX})])
        (event,) = await log.read(ALICE)
        assert set(event.data) == {"dropped"}

    run(scenario)


def test_a_follower_wakes_for_its_own_agent_only(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        await log.append(ALICE, lines(1, 1))
        assert await log.changed(ALICE, 0) == 1
        async with asyncio.TaskGroup() as group:
            follower = group.create_task(log.changed(ALICE, 1))
            await log.append(BOB, lines(1, 5))
            assert not follower.done()
            await log.append(ALICE, lines(2, 3))
            assert await follower == 3

    run(scenario)


def test_sweep_takes_the_old_and_never_reuses_numbers(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        await log.append(ALICE, lines(1, 3))
        clock.advance(3600)
        await log.append(ALICE, lines(4, 4))
        assert await log.sweep(clock.now()) == 3
        assert [event.number for event in await log.read(ALICE)] == [4]
        clock.advance(1)
        assert await log.sweep(clock.now()) == 1
        assert await log.append(ALICE, lines(5, 5)) == 5

    run(scenario)


def test_close_ends_followers_and_append_stays_quiet(run: Run) -> None:
    async def scenario(log: ports.LiveLog, clock: ManualClock) -> None:
        await log.append(ALICE, lines(1, 1))

        async def follow() -> None:
            with pytest.raises(errors.HiveError) as caught:
                await log.changed(ALICE, 1)
            assert caught.value.kind is errors.ErrorKind.UNAVAILABLE

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            await asyncio.sleep(0)
            await log.close()
        assert log.number(ALICE) == 1

    run(scenario)


# --- what only a disk can do ---


def on_disk(path: pathlib.Path, scenario: Callable[[SqliteLiveLog], Awaitable[None]]) -> None:
    async def main() -> None:
        log = await SqliteLiveLog.open(path, ManualClock())
        try:
            await scenario(log)
        finally:
            await log.close()

    asyncio.run(main())


def test_rows_and_numbers_survive_a_restart(tmp_path: pathlib.Path) -> None:
    async def first(log: SqliteLiveLog) -> None:
        await log.append(ALICE, lines(1, 3))
        await log.sweep(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))

    async def second(log: SqliteLiveLog) -> None:
        assert log.number(ALICE) == 3
        assert await log.read(ALICE) == []
        assert await log.append(ALICE, lines(4, 4)) == 4

    on_disk(tmp_path / "live.db", first)
    on_disk(tmp_path / "live.db", second)
    assert (tmp_path / "live.db").stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_moved_aside(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "live.db"
    path.write_bytes(b"not a database at all" * 100)

    async def scenario(log: SqliteLiveLog) -> None:
        assert await log.append(ALICE, lines(1, 1)) == 1

    on_disk(path, scenario)
    assert (tmp_path / "live.db.damaged").read_bytes().startswith(b"not a database")


def test_damage_at_run_time_begins_a_new_file_and_goes_on_counting(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "live.db"

    async def first(log: SqliteLiveLog) -> None:
        await log.append(ALICE, lines(1, 2000))

    async def second(log: SqliteLiveLog) -> None:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        for number in range(3):
            await log.append(ALICE, lines(number, number))
        assert log.number(ALICE) > 2000
        assert [event.number for event in await log.read(ALICE)][-1] == log.number(ALICE)

    on_disk(path, first)
    on_disk(path, second)
    assert (tmp_path / "live.db.damaged").exists()


def test_a_full_disk_costs_events_and_nothing_else(tmp_path: pathlib.Path) -> None:
    """RLIMIT_FSIZE stands in for the full disk: writes beyond it fail (setrlimit(2))."""

    async def scenario(log: SqliteLiveLog) -> None:
        await log.append(ALICE, lines(1, 1))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            assert await log.append(ALICE, lines(2, 500)) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await log.append(ALICE, lines(2, 2)) == 2
        assert [event.data["n"] for event in await log.read(ALICE)] == [1, 2]

    on_disk(tmp_path / "live.db", scenario)


def test_what_the_disk_cannot_keep_up_with_is_dropped(tmp_path: pathlib.Path) -> None:
    async def scenario(log: SqliteLiveLog) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(log.append(ALICE, lines(1, WAITING_MAX // 20)))
        stored = await log.read(ALICE, limit=10 * WAITING_MAX)
        assert len(stored) == WAITING_MAX == log.number(ALICE)

    on_disk(tmp_path / "live.db", scenario)


def test_the_file_is_bounded(tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        log = await SqliteLiveLog.open(tmp_path / "live.db", ManualClock(), bytes_max=1024 * 1024)
        for _ in range(60):
            await log.append(ALICE, [("t", "text", {"text": "x" * 20_000}) for _ in range(5)])
        kept = await log.read(ALICE)
        await log.close()
        assert kept[-1].number == 300
        assert 20 <= len(kept) <= 60

    asyncio.run(main())
    assert (tmp_path / "live.db").stat().st_size < 4 * 1024 * 1024
