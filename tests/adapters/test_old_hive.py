"""What lies in an older home is read without following, running or trusting any of it."""

from __future__ import annotations

import datetime
import os
import pathlib
import socket
import sqlite3
import stat

import pytest

from hyperhive.adapters.old_hive import bringing, broker, copying, layout
from hyperhive.domain import errors, ids, imports

ALICE = ids.AgentId("a" * 12)
ME = os.geteuid()


def make(root: pathlib.Path, *names: str) -> pathlib.Path:
    for name in (".", *names):
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


def database(path: pathlib.Path, script: str) -> pathlib.Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    path.chmod(0o644)
    return path


# --- copying ----------------------------------------------------------------------------


def test_a_copy_has_the_bytes_the_modes_and_the_times(tmp_path: pathlib.Path) -> None:
    top = make(tmp_path / "a", "b/c")
    (top / "b/c/f").write_bytes(bytes(range(256)) * 9000)
    (top / "b/c/f").chmod(0o4751)
    os.utime(top / "b/c/f", ns=(5, 1_700_000_000_123_456_789))
    (top / "b/c").chmod(0o750)
    (top / "b/l").symlink_to("/etc/passwd")
    copied = copying.copy(tmp_path, ("a",), tmp_path / "t", copying.Manner(ME))
    assert (copied.files, copied.bytes, copied.left) == (1, 256 * 9000, [])
    made = tmp_path / "t/b/c/f"
    assert made.read_bytes() == bytes(range(256)) * 9000
    assert made.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert stat.S_IMODE(made.stat().st_mode) == 0o751
    assert stat.S_IMODE((tmp_path / "t/b/c").stat().st_mode) == 0o750
    assert os.readlink(tmp_path / "t/b/l") == "/etc/passwd"


def test_what_is_no_data_is_told_of_and_left(tmp_path: pathlib.Path) -> None:
    top = make(tmp_path / "a")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "sock"))
    copied = copying.copy(tmp_path, ("a",), tmp_path / "t", copying.Manner(ME))
    assert copied.left == ["pipe: a named pipe", "sock: a socket"]
    assert list((tmp_path / "t").iterdir()) == []


def test_a_plain_copy_has_no_links_and_can_be_read_by_anybody(tmp_path: pathlib.Path) -> None:
    top = make(tmp_path / "a", "d")
    (top / "f").write_text("x")
    (top / "f").chmod(0o600)
    (top / "l").symlink_to("/")
    copied = copying.copy(tmp_path, ("a",), tmp_path / "t", copying.Manner(plain=True))
    assert copied.left == ["l: a link"]
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["d", "f"]
    assert stat.S_IMODE((tmp_path / "t/f").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "t/d").stat().st_mode) == 0o755


@pytest.mark.parametrize("part", [("a",), ("b", "a")])
def test_no_link_on_the_way_is_followed(part: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    make(tmp_path / "real", "a")
    (tmp_path / "a").symlink_to("real")
    (tmp_path / "b").symlink_to("real")
    with pytest.raises(errors.HiveError, match="cannot copy"):
        copying.copy(tmp_path, part, tmp_path / "t", copying.Manner())
    assert not (tmp_path / "t").exists()


def test_a_tree_without_end_is_cut(tmp_path: pathlib.Path) -> None:
    here = os.open(make(tmp_path / "a"), os.O_RDONLY)
    for _ in range(copying.DEPTH + 5):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    copied = copying.copy(tmp_path, ("a",), tmp_path / "t", copying.Manner())
    [left] = copied.left
    assert left.endswith(f"deeper than {copying.DEPTH} directories")


def test_an_owned_tree_shares_nothing_and_may_be_owned_again(tmp_path: pathlib.Path) -> None:
    top = make(tmp_path / "a", "d")
    outside = tmp_path / "outside"
    outside.write_text("somebody's")
    outside.chmod(0o4755)
    os.link(outside, top / "d" / "shared")
    (top / "set").write_text("x")
    (top / "set").chmod(0o6755)
    os.mkfifo(top / "pipe")
    before = outside.stat()
    copied = copying.own(top, ME)
    assert copied.left == ["pipe: a named pipe"]
    assert copying.own(top, ME).files == 2
    after = outside.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (
        before.st_ino, before.st_mode, before.st_uid,
    )  # fmt: skip
    assert (top / "d" / "shared").read_text() == "somebody's"
    assert (top / "d" / "shared").stat().st_ino != before.st_ino
    assert stat.S_IMODE((top / "set").stat().st_mode) == 0o755
    assert not (top / "pipe").exists()


# --- the database -----------------------------------------------------------------------


def test_a_newer_table_is_read_by_the_columns_that_we_know(tmp_path: pathlib.Path) -> None:
    script = """
        CREATE TABLE messages (nr INTEGER PRIMARY KEY, sender TEXT, recipient TEXT, body TEXT,
            sent_at TEXT, delivered_at INTEGER, acked_at INTEGER);
        INSERT INTO messages VALUES (1, 'a', 'b', 'handed over, not handled', 1750000000, 2, NULL),
            (2, 'a', 'b', 'handled', 1, 2, 3),
            (3, 'a', 'b', x'68ff00', '2025-06-01T10:00:00Z', NULL, NULL),
            (4, 'a', NULL, NULL, 'yesterday', NULL, NULL),
            (5, 'a', 'b', 'in milliseconds', 1750000000123, NULL, NULL);
        CREATE TABLE approvals (id INTEGER PRIMARY KEY, agent TEXT, kind TEXT, status TEXT);
        INSERT INTO approvals VALUES (9, 'coder', 'apply_commit', 'approved'),
            (10, 'coder', 'init_config', 'approved');
        CREATE TABLE "odd ""name" (x);
        INSERT INTO "odd ""name" VALUES (1), (2);
    """
    kept = tmp_path / "kept.sqlite"
    broker.keep(database(tmp_path / "broker.sqlite", script), kept)
    mail = broker.read(kept)
    assert [row.id for row in mail.messages] == [1, 3, 4, 5]
    assert mail.messages[1].body == "h\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert mail.messages[1].sent_at == datetime.datetime(2025, 6, 1, 10, tzinfo=datetime.UTC)
    assert (mail.messages[2].recipient, mail.messages[2].sent_at) == ("", None)
    assert mail.messages[3].sent_at is not None
    assert mail.messages[3].sent_at.year == 2025
    [approval] = mail.approvals
    assert (approval.id, approval.commit_ref, approval.decided_at) == (9, "", None)
    assert mail.left == {
        "messages that were handled": 1,
        "approvals of the kind init_config": 1,
        'rows of the table odd "name': 2,
    }


def test_what_is_only_in_the_log_of_the_database_comes_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "broker.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, sender, recipient, body)")
    connection.execute("INSERT INTO messages VALUES (1, 'a', 'b', 'late')")
    path.chmod(0o644)
    before = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    assert b"late" not in before[""]
    broker.keep(path, tmp_path / "kept.sqlite")
    assert [row.body for row in broker.read(tmp_path / "kept.sqlite").messages] == ["late"]
    after = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    assert after == before
    connection.close()


def test_a_view_is_no_table_and_noise_is_no_database(tmp_path: pathlib.Path) -> None:
    endless = """
        CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
            SELECT id, 'a' AS sender, 'b' AS recipient, 'c' AS body FROM n;
    """
    broker.keep(database(tmp_path / "view.sqlite", endless), tmp_path / "kept")
    assert broker.read(tmp_path / "kept") == imports.OldMail((), (), {})
    noise = tmp_path / "noise.sqlite"
    noise.write_bytes(b"no database " * 1000)
    noise.chmod(0o644)
    with pytest.raises(errors.HiveError, match="cannot use"):
        broker.keep(noise, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_database_that_others_could_write_is_not_touched(tmp_path: pathlib.Path) -> None:
    path = database(tmp_path / "broker.sqlite", "CREATE TABLE t (x)")
    path.chmod(0o666)
    with pytest.raises(errors.HiveError, match="cannot trust"):
        broker.keep(path, tmp_path / "kept")


# --- the layout -------------------------------------------------------------------------


def test_what_there_is_of_each_agent(tmp_path: pathlib.Path) -> None:
    root = make(
        tmp_path / "old", "applied/ruth/.git", "applied/coder/.git", "agents/ruth/config",
        "agents/coder/state", "agents/coder/harness", "agents/kept/claude", "meta", "shared",
    )  # fmt: skip
    (root / "agents/away").symlink_to("/")
    (root / "meta/flake.lock").write_text('{"nodes": {"root": {"inputs": {"agent-ruth": "x"}}}}')
    found = layout.read(root)
    assert (found.layout, found.manager, found.left) == (imports.Layout.META, "ruth", ("shared",))
    assert [(row.name, row.live) for row in found.agents] == [
        ("coder", False), ("kept", False), ("ruth", True),
    ]  # fmt: skip
    assert found.agents[0].left == ("harness",)
    assert layout.read(root, "coder").manager == "coder"
    with pytest.raises(errors.HiveError, match="no agent 'bob'"):
        layout.read(root, "bob")


@pytest.mark.parametrize("lock", ["[]", "{", '{"nodes": 1}', "[" * 100_000, '{"nodes": {}}'])
def test_a_lock_that_says_nothing_decides_nothing(lock: str, tmp_path: pathlib.Path) -> None:
    root = make(tmp_path / "old", "applied/coder/.git", "meta")
    (root / "meta/flake.lock").write_text(lock)
    [row] = layout.read(root).agents
    assert row.live


def test_only_an_older_home_is_taken_for_one(tmp_path: pathlib.Path) -> None:
    assert not layout.is_old(tmp_path / "none")
    fresh = make(tmp_path / "fresh", "agents", "run")
    assert not layout.is_old(fresh)
    older = make(tmp_path / "older", "applied/coder/.git")
    assert layout.is_old(older)
    ours = make(tmp_path / "ours", "applied/a.git", "store")
    assert not layout.is_old(ours)
    (ours / "store/hive.db").touch()
    (ours / "broker.sqlite").touch()
    assert not layout.is_old(ours)


def test_a_daemon_that_answers_is_in_the_way(tmp_path: pathlib.Path) -> None:
    layout.check_stopped(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        layout.check_stopped(tmp_path / "sock")
        server.listen()
        with pytest.raises(errors.HiveError, match="systemctl stop"):
            layout.check_stopped(tmp_path / "sock")


# --- the way ----------------------------------------------------------------------------


def test_setting_aside_goes_on_where_it_stopped(tmp_path: pathlib.Path) -> None:
    home = make(tmp_path, "agents/coder", "before-import/applied/coder", "run", "store")
    (home / "broker.sqlite").touch()
    (home / "hive.toml").touch()
    before = bringing.set_aside(home)
    assert sorted(path.name for path in before.iterdir()) == [
        "agents", "applied", "broker.sqlite", "complete",
    ]  # fmt: skip
    # From now on these names are ours.
    make(home, "agents/0123456789ab")
    assert bringing.set_aside(home) == before
    assert (home / "agents/0123456789ab").exists()
    assert (home / "hive.toml").exists()


def test_sessions_never_take_the_place_of_an_agents_own(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "old/agents/alice/state/.claude", "old/agents/alice/claude", "home/agents")
    (tmp_path / "old/agents/alice/claude/x").write_text("session")
    way = bringing.Bringing(tmp_path / "old", tmp_path / "home", move=False)
    way.begin()
    row = layout.OldAgent("alice", False, False, True, True, False, ())
    way.state(row, ALICE, ME)
    state = tmp_path / "home/agents" / ALICE / "state"
    assert (state / ".claude-imported/x").read_text() == "session"
    assert list((state / ".claude").iterdir()) == []
    way.end()
    assert not (tmp_path / "home/imported/under-way").exists()
