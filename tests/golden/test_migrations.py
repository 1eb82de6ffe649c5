"""The schema's steps, and which files the store refuses to touch."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pathlib
import sqlite3

import pytest

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store import schema
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import errors

RELEASED = {
    "0001_create_tables.sql": "92fd38b7519a6e6b7482e6c5ac7bc82a10ed792896194263ae40629141df0416",
    "0002_keep_proposals.sql": "6234ac3bbc05e06b9ccf6574d48a57f092c63297f381123eb0e798f459e21839",
    "0003_keep_questions.sql": "895df7af3260ba96a4466819d84fb13c6c4ca2bee3c04bf628e10fe71f681442",
    "0004_turn_kinds.sql": "6ff407b9b24e491ab5e16ba9aac21ad8523ceca954266024c9d96b7c6a0c9768",
    "0005_sum_turns.sql": "11c24d932ee0ac89e0697f79371a6a1685ff83c5aa9bc7ed73ce200489587d9a",
}
"""A step that users have run never changes; write a new one instead."""

KNOWN = len(schema.load_steps())
NEXT = schema.Step(
    KNOWN + 1,
    f"{KNOWN + 1:04}_add_colours.sql",
    "ALTER TABLE agents ADD COLUMN colour TEXT;",
)


async def open_and_close(path: pathlib.Path, steps: list[schema.Step] | None = None) -> None:
    store = await SqliteStore.open(path, ManualClock(), steps=steps)
    await store.write(lambda tx: tx.put_value("seen", True))
    await store.close()


def versions(path: pathlib.Path) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return tuple(  # type: ignore[return-value]
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )


def refused(path: pathlib.Path, kind: errors.ErrorKind, *words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(errors.HiveError) as caught:
        asyncio.run(open_and_close(path))
    assert caught.value.kind is kind
    for word in (str(path), *words):
        assert word in caught.value.message
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_released_steps_never_change() -> None:
    digests = {
        step.name: hashlib.sha256(step.sql.encode()).hexdigest() for step in schema.load_steps()
    }
    assert digests == RELEASED


def test_a_new_file_gets_every_step(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    asyncio.run(open_and_close(path))
    assert versions(path) == (schema.APPLICATION_ID, len(schema.load_steps()))
    asyncio.run(open_and_close(path))
    assert [p.name for p in tmp_path.iterdir()] == ["hive.db"]


def test_an_upgrade_keeps_a_copy_and_all_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    first = schema.load_steps()
    asyncio.run(open_and_close(path, first))
    asyncio.run(open_and_close(path, [*first, NEXT]))
    assert versions(path)[1] == KNOWN + 1
    copy = tmp_path / f"hive.db.before-{KNOWN + 1:04}"
    assert versions(copy)[1] == KNOWN
    assert copy.stat().st_mode & 0o777 == 0o600
    for file in (path, copy):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT key FROM named_values").fetchall() == [("seen",)]


def test_a_step_that_fails_changes_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    first = schema.load_steps()
    asyncio.run(open_and_close(path, first))
    wrong = schema.Step(KNOWN + 1, "9003_break_it.sql", "DROP TABLE facts; SELECT * FROM nowhere;")
    with pytest.raises(errors.HiveError, match=r"9003_break_it\.sql") as caught:
        asyncio.run(open_and_close(path, [*first, wrong]))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    asyncio.run(open_and_close(path, first))
    assert versions(path)[1] == KNOWN


def test_an_interrupted_upgrade_goes_on_where_it_stopped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    first = schema.load_steps()
    wrong = schema.Step(KNOWN + 2, "9004_break_it.sql", "SELECT * FROM nowhere;")
    asyncio.run(open_and_close(path, first))
    with pytest.raises(errors.HiveError):
        asyncio.run(open_and_close(path, [*first, NEXT, wrong]))
    assert versions(path)[1] == KNOWN + 1
    right = schema.Step(
        KNOWN + 2, "9004_add_shapes.sql", "ALTER TABLE agents ADD COLUMN shape TEXT;"
    )
    asyncio.run(open_and_close(path, [*first, NEXT, right]))
    assert versions(path)[1] == KNOWN + 2


def test_a_newer_database_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    asyncio.run(open_and_close(path, [*schema.load_steps(), NEXT]))
    refused(
        path,
        errors.ErrorKind.UNAVAILABLE,
        "newer hyperhive",
        f"schema {KNOWN + 1}",
        f"knows {KNOWN}",
    )


def test_a_newer_version_that_is_only_in_the_log_is_refused_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    asyncio.run(open_and_close(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        # Not copied into the file yet: as after a crash right behind an upgrade.
        other.execute("PRAGMA user_version = 9")
        with pytest.raises(errors.HiveError, match="schema 9"):
            asyncio.run(open_and_close(path))


@pytest.mark.parametrize("content", [b"hello, I am a text file\n" * 20, b"SQLite", b"\0" * 5000])
def test_a_file_that_is_no_database_is_refused(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "hive.db"
    path.write_bytes(content)
    refused(path, errors.ErrorKind.INVALID, "not a database")


@pytest.mark.parametrize("pragma", ["application_id = 77", "user_version = 1", "user_version = 0"])
def test_a_database_of_another_program_is_refused(tmp_path: pathlib.Path, pragma: str) -> None:
    path = tmp_path / "hive.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE places (url TEXT)")
        other.execute(f"PRAGMA {pragma}")
        other.commit()
    refused(path, errors.ErrorKind.INVALID, "another program")


def test_a_damaged_database_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    asyncio.run(open_and_close(path))
    content = bytearray(path.read_bytes())
    content[4096 : 2 * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    refused(path, errors.ErrorKind.UNAVAILABLE, "damaged", "backup")


def test_an_empty_file_is_a_beginning(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    path.touch()
    asyncio.run(open_and_close(path))
    assert versions(path)[1] == len(schema.load_steps())


def test_a_directory_in_the_way_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "hive.db"
    path.mkdir()
    with pytest.raises(errors.HiveError, match="Is a directory") as caught:
        asyncio.run(open_and_close(path))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
