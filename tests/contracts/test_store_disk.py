"""What only a disk does: restarts, kill -9, a full or failing disk, foreign and damaged files."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.store import faults
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, errors, events
from hyperhive.services import messaging

pytestmark = pytest.mark.timeout(60)

BIG = "x" * 100_000


@contextlib.asynccontextmanager
async def opened(
    path: pathlib.Path, broken: list[errors.HiveError] | None = None
) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(
        path, ManualClock(), on_broken=None if broken is None else broken.append
    )
    try:
        yield store
    finally:
        await store.close()


def note(tx: ports.Tx) -> int:
    return tx.record(
        events.Event(events.EventKind.AGENT_STATUS_SET, text=BIG, topics=(events.FLEET,))
    )


def unavailable(error: BaseException) -> bool:
    return isinstance(error, errors.HiveError) and error.kind is errors.ErrorKind.UNAVAILABLE


def test_facts_survive_a_restart_and_only_the_owner_may_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "store" / "hive.db"

    async def scenario() -> None:
        async with opened(path) as store:
            assert [await store.write(note) for _ in range(3)] == [1, 2, 3]
            assert await store.write(lambda tx: tx.next_slot()) == 1
        assert sorted(p.name for p in path.parent.iterdir()) == ["hive.db"]
        async with opened(path) as store:
            assert store.number() == 3
            # What happened before may have touched any topic: look before you wait.
            assert await store.changed(events.APPROVALS, 0) == 3
            assert await store.write(note) == 4
            assert await store.write(lambda tx: tx.next_slot()) == 2
            names = ["hive.db", "hive.db-wal", "hive.db-shm"]
            modes = [(path.parent / name).stat().st_mode & 0o777 for name in names]
            assert modes == [0o600] * 3

    asyncio.run(scenario())


def test_a_read_sees_one_snapshot_while_writes_go_on(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            loop = asyncio.get_running_loop()
            await store.write(note)

            def look_twice(tx: ports.ReadTx) -> tuple[int, int]:
                before = tx.last_number()
                asyncio.run_coroutine_threadsafe(store.write(note), loop).result(10)
                return before, tx.last_number()

            assert await store.read(look_twice) == (1, 1)
            assert await store.read(lambda tx: tx.last_number()) == 2

    asyncio.run(scenario())


def test_a_reader_cannot_write(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            with pytest.raises(errors.HiveError) as caught:
                await store.read(
                    lambda tx: tx._connection.execute("DELETE FROM facts")  # type: ignore[attr-defined]
                )
            assert unavailable(caught.value)

    asyncio.run(scenario())


def test_works_that_wait_together_share_one_commit(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            commits: list[str] = []

            def trace(tx: ports.Tx) -> None:
                tx._connection.set_trace_callback(  # type: ignore[attr-defined]
                    lambda sql: commits.append(sql) if sql == "COMMIT" else None
                )

            await store.write(trace)
            commits.clear()
            await asyncio.gather(*(store.write(lambda tx: tx.next_slot()) for _ in range(200)))
            assert len(commits) < 100

    asyncio.run(scenario())


def test_mail_that_waits_together_takes_a_few_statements(tmp_path: pathlib.Path) -> None:
    """Each statement hands the interpreter to and fro: one for each message halves the mail."""

    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            mail = messaging.Messaging(store, SystemClock())
            statements: list[str] = []

            def trace(tx: ports.Tx) -> None:
                tx._connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]

            await store.write(trace)
            await asyncio.gather(
                *(mail.send(access.SYSTEM_CALLER, "operator", str(n)) for n in range(512))
            )
            assert len(statements) < 100
            sent = await store.read(lambda tx: tx.list_messages(limit=1000))
            assert [message.body for message in reversed(sent)] == [str(n) for n in range(512)]

    asyncio.run(scenario())


def test_what_cannot_be_stored_fails_alone(tmp_path: pathlib.Path) -> None:
    """It shows only when the group is written, after every work has returned."""

    def note_half_a_character(tx: ports.Tx) -> int:
        return tx.record(events.Event(events.EventKind.AGENT_STATUS_SET, text="\ud800"))

    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            works = [note, note, note_half_a_character, note]
            results = await asyncio.gather(*map(store.write, works), return_exceptions=True)
            assert [type(result) for result in results] == [int, int, UnicodeEncodeError, int]
            facts = await store.read(lambda tx: tx.facts_after(0, 10))
            assert [fact.number for fact in facts] == [1, 2, 3] == results[:2] + results[3:]

    asyncio.run(scenario())


def test_strange_errors_of_a_work_reach_its_caller(tmp_path: pathlib.Path) -> None:
    def stop(tx: ports.ReadTx) -> None:
        raise StopIteration

    def wrong_query(tx: ports.ReadTx) -> None:
        tx._connection.execute("SELECT 1 FROM nowhere")  # type: ignore[attr-defined]

    async def scenario() -> None:
        async with opened(tmp_path / "hive.db") as store:
            for ask in (store.write, store.read):
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await ask(stop)
                with pytest.raises(sqlite3.OperationalError, match="nowhere"):
                    await ask(wrong_query)
            assert await store.write(note) == 1

    asyncio.run(scenario())


def test_a_full_disk_refuses_and_recovers_by_itself(tmp_path: pathlib.Path) -> None:
    def limit(pages: int):
        def work(tx: ports.Tx) -> None:
            tx._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()  # type: ignore[attr-defined]

        return work

    async def scenario() -> None:
        broken: list[errors.HiveError] = []
        async with opened(tmp_path / "hive.db", broken) as store:
            await store.write(note)
            await store.write(limit(60))
            with pytest.raises(errors.HiveError, match="the disk is full") as caught:
                await store.write(lambda tx: [note(tx) for _ in range(10)])
            assert unavailable(caught.value)
            assert store.number() == 1
            assert await store.read(lambda tx: len(tx.facts_after(0, 99))) == 1
            await store.write(limit(1_000_000))
            assert await store.write(lambda tx: [note(tx) for _ in range(10)][-1]) == 11
            assert broken == []

    asyncio.run(scenario())


def test_a_failing_disk_is_believed_never_again(tmp_path: pathlib.Path) -> None:
    """RLIMIT_FSIZE makes the write of the log fail with EFBIG, which SQLite calls IOERR."""

    async def scenario() -> None:
        broken: list[errors.HiveError] = []
        async with opened(tmp_path / "hive.db", broken) as store:
            await store.write(note)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
            try:
                results = await asyncio.gather(
                    store.changed(events.FLEET, 1),
                    *(store.write(note) for _ in range(5)),
                    return_exceptions=True,
                )
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert all(isinstance(r, errors.HiveError) and unavailable(r) for r in results)
            assert len(broken) == 1
            assert "SQLITE_IOERR" in broken[0].message
            for ask in (store.write(note), store.read(lambda tx: tx.last_number())):
                with pytest.raises(errors.HiveError) as caught:
                    await ask
                assert unavailable(caught.value)
        async with opened(tmp_path / "hive.db") as store:
            assert store.number() == 1

    asyncio.run(scenario())


def test_a_file_that_another_program_holds_is_waited_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperhive.adapters.store.sqlite.BUSY_SECONDS", 0.05)
    path = tmp_path / "hive.db"

    async def scenario() -> None:
        broken: list[errors.HiveError] = []
        async with opened(path, broken) as store:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(errors.HiveError, match="end the program that holds"):
                    await store.write(note)
                other.execute("ROLLBACK")
            assert await store.write(note) == 1
        assert broken == []

    asyncio.run(scenario())


def test_the_log_is_copied_back_and_stays_small(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperhive.adapters.store.writer.CHECKPOINT_BYTES", 400_000)
    monkeypatch.setattr("hyperhive.adapters.store.writer.CHECKPOINT_PATIENCE", 1)
    path = tmp_path / "hive.db"

    async def scenario() -> None:
        async with opened(path) as store:
            for _ in range(100):
                await store.write(note)
            assert path.with_name("hive.db-wal").stat().st_size < 1_500_000
            assert path.stat().st_size > 5_000_000

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, faults.Blame.MOMENT),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, faults.Blame.MOMENT),
        (sqlite3.SQLITE_IOERR_SHMSIZE, faults.Blame.MOMENT),
        (sqlite3.SQLITE_IOERR_FSYNC, faults.Blame.DISK),
        (sqlite3.SQLITE_CORRUPT, faults.Blame.DISK),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, faults.Blame.WORK),
        (0, faults.Blame.WORK),
    ],
)
def test_who_is_to_blame(code: int, expected: faults.Blame) -> None:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    assert faults.blame(error) is expected


# --- kill -9 --------------------------------------------------------------------------------

SENDER = """
import asyncio, pathlib, sys
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, agents
from hyperhive.services.messaging import Messaging

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), SystemClock())
    mail = Messaging(store, SystemClock())
    first = int(sys.argv[2])
    async def sender(lane):
        n = first
        while True:
            n += 1
            name = f"{lane}:{n}"
            sent = await mail.send(access.SYSTEM_CALLER, "operator", name, key=name)
            print(name, sent.id, flush=True)
    async with asyncio.TaskGroup() as group:
        for lane in range(8):
            group.create_task(sender(lane))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_nine(tmp_path: pathlib.Path) -> None:
    """A sender journals each acknowledgement to a pipe and is killed at a random moment."""
    path = tmp_path / "hive.db"
    chance = random.Random(8)
    acknowledged: dict[str, int] = {}
    for round_ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", SENDER, str(path), str(round_ * 100_000)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            # Counted in acknowledgements, not in time, so that a slow machine tests the same.
            for _ in range(chance.randrange(1, 400)):
                key, number = process.stdout.readline().split()
                acknowledged[key] = int(number)
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().splitlines():
                if len(line.split()) == 2 and line.split()[1].isdigit():
                    acknowledged[line.split()[0]] = int(line.split()[1])

        async def check() -> None:
            store = await SqliteStore.open(path, SystemClock())
            stored = await store.read(lambda tx: tx.list_messages(limit=1_000_000))
            facts = await store.read(lambda tx: tx.facts_after(0, 1_000_000))
            await store.close()
            by_key = {message.key: message for message in stored}
            assert len(by_key) == len(stored)
            for key, number in acknowledged.items():
                assert by_key[key].id == number
                assert by_key[key].body == key
            # A message and its fact are one transaction.
            assert [fact.number for fact in facts] == list(range(1, len(facts) + 1))
            assert {fact.event.message for fact in facts} == {message.id for message in stored}

        asyncio.run(check())
    assert len(acknowledged) > 50
