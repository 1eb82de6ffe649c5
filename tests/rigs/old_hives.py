"""Homes of the older hyperhive, made with real git, as its public documentation describes them."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sqlite3
import subprocess

TOML = b'schema = 1\nmodel = "claude-haiku-4"\n'
NIX = b"{ pkgs, ... }: { environment.systemPackages = [ pkgs.jq ]; }\n"
FLAKE = b"{ outputs = { self }: { nixosModules.default = import ./agent.nix; }; }\n"
_GIT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "hm1nd",
    "GIT_AUTHOR_EMAIL": "hm1nd@hive",
    "GIT_COMMITTER_NAME": "hm1nd",
    "GIT_COMMITTER_EMAIL": "hm1nd@hive",
    "GIT_AUTHOR_DATE": "1750000000 +0000",
    "GIT_COMMITTER_DATE": "1750000000 +0000",
}


def git(where: pathlib.Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-c", f"safe.directory={where}", "-C", where, *args],
        env=_GIT, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


def init(where: pathlib.Path) -> None:
    where.mkdir(parents=True)
    git(where, "init", "-q", "-b", "main")


def commit(where: pathlib.Path, message: str, **files: bytes) -> str:
    for name, content in files.items():
        path = where / name.replace("__", ".")
        path.write_bytes(content)
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", message)
    return git(where, "rev-parse", "HEAD")


@dataclasses.dataclass(frozen=True, slots=True)
class Old:
    root: pathlib.Path
    commits: dict[str, str]
    """Name of a commit, as the tests call it, to its id."""


def with_meta(root: pathlib.Path) -> Old:
    """The last layout: a manager, an agent with every outcome, and one that was destroyed."""
    made: dict[str, str] = {}
    for name in ("hm1nd", "coder", "gone"):
        applied = root / "applied" / name
        init(applied)
        made[f"{name} seed"] = commit(applied, "seed", agent__nix=NIX, flake__nix=FLAKE)
        git(applied, "tag", "deployed/0")
        agent = root / "agents" / name
        (agent / "claude" / "projects" / "-state").mkdir(parents=True)
        (agent / "claude" / ".credentials.json").write_text('{"token": "secret of ' + name + '"}')
        (agent / "claude" / "projects" / "-state" / "one.jsonl").write_text("{}\n")
        git(root, "clone", "-q", str(applied), str(agent / "config"))
        (agent / "config" / "draft.txt").write_text("not committed\n")
        state = agent / "state"
        (state / "deep" / "er").mkdir(parents=True)
        (state / "notes.md").write_text(f"notes of {name}\n")
        (state / "deep" / "er" / "tool").write_bytes(b"\0\xff" * 3000)
        (state / "deep" / "er" / "tool").chmod(0o4755)
        (state / "link").symlink_to("/etc/shadow")
        os.mkfifo(state / "pipe")
        (agent / "harness").mkdir()
    applied = root / "applied" / "coder"
    # 1 deployed, 2 failed, 3 denied, 4 deployed and what runs, 5 still pending.
    made["one"] = commit(applied, "one", agent__toml=TOML)
    for kind in ("proposal", "approved", "building", "deployed"):
        git(applied, "tag", f"{kind}/1")
    git(applied, "checkout", "-q", "-b", "two")
    made["two"] = commit(applied, "two", broken__nix=b"syntax error\n")
    for kind in ("proposal", "approved", "building"):
        git(applied, "tag", f"{kind}/2")
    git(applied, "tag", "-a", "failed/2", "-m", "error: syntax error\nat line 1")
    git(applied, "checkout", "-q", "-b", "three", made["one"])
    made["three"] = commit(applied, "three", other__txt=b"no\n")
    git(applied, "tag", "proposal/3")
    git(applied, "tag", "-a", "denied/3", "-m", "not now")
    git(applied, "checkout", "-q", "main")
    made["four"] = commit(applied, "four", prompt__md=b"be kind\n")
    for kind in ("proposal", "approved", "building", "deployed"):
        git(applied, "tag", f"{kind}/4")
    git(applied, "checkout", "-q", "-b", "five")
    made["five"] = commit(applied, "five", more__txt=b"more\n")
    git(applied, "tag", "proposal/5")
    git(applied, "checkout", "-q", "main")
    git(applied, "branch", "-q", "-D", "two", "three", "five")
    git(applied, "pack-refs", "--all")
    meta = root / "meta"
    init(meta)
    inputs = {"hyperhive": "hyperhive", "agent-hm1nd": "agent-hm1nd", "agent-coder": "agent-coder"}
    lock = json.dumps({"nodes": {"root": {"inputs": inputs}}, "root": "root"}).encode()
    commit(meta, "deploy coder deployed/4", flake__nix=b"{}", flake__lock=lock)
    (root / ".meta-migration-done").touch()
    _close(root)
    broker(root / "broker.sqlite")
    return Old(root, made)


def with_flakes(root: pathlib.Path) -> Old:
    """The oldest layout: a flake for each agent, no tags, no meta, no database."""
    made: dict[str, str] = {}
    for name in ("hm1nd", "scout"):
        applied = root / "applied" / name
        init(applied)
        commit(applied, "first", agent__nix=b"{ }\n", flake__nix=b"{ }\n")
        made[name] = commit(applied, "apply 7", agent__nix=NIX)
        init(root / "agents" / name / "config")
        commit(root / "agents" / name / "config", "mine", agent__nix=NIX)
        (root / "agents" / name / "state").mkdir()
        (root / "agents" / name / "state" / "notes.md").write_text(f"notes of {name}\n")
    _close(root)
    return Old(root, made)


def _close(root: pathlib.Path) -> None:
    root.chmod(0o755)


def broker(path: pathlib.Path) -> None:
    """A database as it was written down, with a column and a table that nobody here knows."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE messages (id INTEGER PRIMARY KEY, sender TEXT, recipient TEXT, body TEXT,
                sent_at INTEGER, delivered_at INTEGER, in_reply_to INTEGER, colour TEXT);
            CREATE TABLE approvals (id INTEGER PRIMARY KEY, agent TEXT, kind TEXT, commit_ref TEXT,
                requested_at INTEGER, status TEXT, resolved_at INTEGER, note TEXT);
            CREATE TABLE operator_questions (id INTEGER PRIMARY KEY, asker TEXT, question TEXT);
            INSERT INTO operator_questions VALUES (1, 'coder', 'why?');
            INSERT INTO messages VALUES
                (1, 'operator', 'coder', 'done long ago', 1750000000, 1750000001, NULL, 'red'),
                (2, 'operator', 'coder', 'still to do', 1750000100, NULL, NULL, 'blue'),
                (3, 'coder', 'manager', 'please look', 1750000200, NULL, 2, NULL),
                (4, 'nobody', 'operator', 'from a ghost', 1750000300, NULL, NULL, NULL),
                (5, 'coder', 'nobody', 'to a ghost', 1750000400, NULL, NULL, NULL);
            INSERT INTO approvals VALUES
                (1, 'coder', 'apply_commit', 'abcdef0', 1750000000, 'approved', 1750000009, NULL),
                (2, 'coder', 'apply_commit', 'abcdef1', 1750000010, 'failed', 1750000019, 'no'),
                (3, 'coder', 'apply_commit', 'abcdef2', 1750000020, 'denied', 1750000029, 'no!'),
                (4, 'coder', 'apply_commit', 'abcdef3', 1750000030, 'approved', 1750000039, NULL),
                (5, 'coder', 'apply_commit', 'abcdef4', 1750000040, 'pending', NULL, NULL),
                (6, 'coder', 'spawn', '', 1740000000, 'approved', 1740000009, NULL),
                (7, 'coder', 'schedule_prompt', '', 1750000050, 'approved', 1750000059, NULL);
            """
        )
    connection.close()
    path.chmod(0o644)


def snapshot(root: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Everything below *root* by path: kind, mode, owner, times and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        at = path.lstat()
        content: object = b""
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (
            at.st_mode, at.st_uid, at.st_mtime_ns if path.is_file() else 0, content,
        )  # fmt: skip
    return found
