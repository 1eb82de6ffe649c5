"""A hive of the older system is brought over and loses nothing, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import pathlib
import random
import sqlite3
import time
from collections.abc import Iterator

import pytest
from tests.system import configuring
from tests.system import hive_process as hives

from hyperhive.adapters.hive_home import home as hive_home
from hyperhive.domain import errors
from rigs import imported_hives, old_hives

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def old(tmp_path: pathlib.Path) -> old_hives.Old:
    return old_hives.with_meta(tmp_path / "old")


@pytest.fixture
def home(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    tmp_path.chmod(0o711)
    yield tmp_path / "new"


def test_everything_comes_over_and_the_older_hive_stays(
    old: old_hives.Old, home: pathlib.Path
) -> None:
    before = old_hives.snapshot(old.root)
    made = imported_hives.bring(home, old.root)
    assert old_hives.snapshot(old.root) == before
    assert (made.state, made.layout, made.problems) == ("imported", "meta", [])
    found = imported_hives.facts(home)
    assert found["agents"] == [
        ("manager", "manager", "running", "stopped"),
        ("coder", "agent", "running", "stopped"),
        ("gone", "agent", "stopped", "stopped"),
    ]
    commits = old.commits
    assert [(row[0], row[1], row[3], row[4]) for row in found["deployments"]] == [
        ("coder", commits["four"], 4, "claude-haiku-4"),
        ("gone", commits["gone seed"], 0, ""),
        ("manager", commits["hm1nd seed"], 0, ""),
    ]
    # git: every tag with its commit and its message, main where it was, every commit unchanged.
    applied = old.root / "applied" / "coder"
    listing = "--format=%(refname) %(objectname) %(*objectname) %(contents)"
    coder = next(row for row in made.agents if row.old == "coder")
    for ref in old_hives.git(applied, "for-each-ref", "--format=%(refname)").split():
        for question in ("rev-parse", "cat-file"):
            args = [question, f"{ref}^{{commit}}"] if question == "rev-parse" else (
                [question, "-p", f"{ref}^{{commit}}"]
            )  # fmt: skip
            there = old_hives.git(applied, *args)
            assert old_hives.git(home / "applied" / f"{coder.id}.git", *args) == there
        contents = old_hives.git(applied, "for-each-ref", "--format=%(contents)", ref)
        here = old_hives.git(
            home / "applied" / f"{coder.id}.git", "for-each-ref", "--format=%(contents)", ref
        )
        assert here == contents, listing
    # What the manager edits: byte for byte, the manager's own.
    there, here = old.root / "agents" / "coder" / "config", home / "proposed" / "coder" / "config"
    copied = old_hives.snapshot(here)
    assert {path: (row[0], *row[2:]) for path, row in copied.items()} == {
        path: (row[0], *row[2:]) for path, row in old_hives.snapshot(there).items()
    }
    if os.geteuid() == 0:
        manager = next(row for row in made.agents if row.name == "manager")
        owner = (home / "agents" / manager.id / "state").stat().st_uid
        assert {row[1] for row in copied.values()} == {owner}
        assert owner not in (0, (home / "agents" / coder.id / "state").stat().st_uid)
    # The state: the agent's own, links as links, no set-uid bit, no pipe; the login is not in it.
    state = home / "agents" / coder.id / "state"
    assert (state / "notes.md").read_text() == "notes of coder\n"
    assert (state / "deep" / "er" / "tool").read_bytes() == b"\0\xff" * 3000
    assert (state / "deep" / "er" / "tool").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(state / "link") == "/etc/shadow"
    assert not (state / "pipe").exists()
    assert (state / ".claude" / "projects" / "-state" / "one.jsonl").read_text() == "{}\n"
    assert not (state / ".claude" / ".credentials.json").exists()
    login = home / "imported" / "credentials" / f"{coder.id}.json"
    assert json.loads(login.read_text()) == {"token": "secret of coder"}
    assert login.stat().st_mode & 0o777 == 0o600
    assert coder.left == ["harness", "state/pipe: a named pipe"]


def test_mail_and_approvals_come_as_far_as_they_mean_something(
    old: old_hives.Old, home: pathlib.Path
) -> None:
    made = imported_hives.bring(home, old.root)
    found = imported_hives.facts(home)
    assert found["messages"] == [
        ("coder", "manager", "please look", "queued"),
        ("nobody (not here)", "operator", "from a ghost", "queued"),
        ("operator", "coder", "still to do", "queued"),
    ]
    assert found["approvals"] == [
        (6, "spawn", "coder", "deployed", ""),
        (5, "apply_commit", "coder", "expired", "it waited when the hive was imported; ask again"),
        (4, "apply_commit", "coder", "deployed", ""),
        (3, "apply_commit", "coder", "denied", "no!"),
        (2, "apply_commit", "coder", "failed", "no"),
        (1, "apply_commit", "coder", "deployed", ""),
    ]
    assert [(row[0], row[1], row[3]) for row in found["proposals"]] == [
        (5, old.commits["five"], ""),
        (4, old.commits["four"], "deployed/4"),
        (3, old.commits["three"], "denied/3"),
        (2, old.commits["two"], "failed/2"),
        (1, old.commits["one"], "deployed/1"),
    ]
    assert made.left == {
        "messages that were handled": 1,
        "approvals of the kind schedule_prompt": 1,
        "rows of the table operator_questions": 1,
        "messages to 'nobody', who is not here": 1,
    }
    with sqlite3.connect(home / "imported" / "broker.sqlite") as kept:
        assert kept.execute("SELECT count(*) FROM messages").fetchone() == (5,)
    kept.close()


def test_a_second_import_changes_nothing(old: old_hives.Old, home: pathlib.Path) -> None:
    imported_hives.bring(home, old.root)
    found = imported_hives.facts(home)
    assert imported_hives.bring(home, old.root).state == "already imported"
    # Also without its marker, as if it had died at the very end.
    (home / "imported" / "done.json").unlink()
    assert imported_hives.bring(home, old.root).state == "imported"
    assert imported_hives.facts(home) == found


def test_the_oldest_layout_has_no_tags_and_gets_the_first(
    tmp_path: pathlib.Path, home: pathlib.Path
) -> None:
    old = old_hives.with_flakes(tmp_path / "old")
    made = imported_hives.bring(home, old.root)
    assert (made.layout, made.state) == ("flakes", "imported")
    found = imported_hives.facts(home)
    assert [(row[0], row[1], row[3]) for row in found["deployments"]] == [
        ("manager", old.commits["hm1nd"], 0),
        ("scout", old.commits["scout"], 0),
    ]
    assert "refs/tags/deployed/0" in found["refs"]["scout"][0]
    assert found["approvals"] == []


STRIDE = 1 if os.environ.get("HIVE_TEST_EVERY_CRASH") else 3
"""Every so many steps; the full run kills before each."""


@pytest.mark.parametrize("move", [False, True], ids=["copy", "move"])
def test_killed_before_every_step_it_ends_the_same(
    move: bool, old: old_hives.Old, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    imported_hives.bring(tmp_path / "whole", old.root)
    whole = imported_hives.facts(tmp_path / "whole")
    steps = 0
    while (code := imported_hives.start(home, old.root, move=move, steps=steps).wait()) == 9:
        steps += STRIDE
        assert steps < 60
    assert code == 0
    assert steps > 15
    assert imported_hives.facts(home) == whole
    assert (old.root / "agents" / "coder" / "state").exists() is not move


def test_killed_at_any_moment_it_ends_the_same(
    old: old_hives.Old, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = time.monotonic()
    assert imported_hives.start(tmp_path / "whole", old.root).wait() == 0
    took = time.monotonic() - before
    whole = imported_hives.facts(tmp_path / "whole")
    chance = random.Random(47)
    for _ in range(8):
        process = imported_hives.start(home, old.root)
        time.sleep(chance.uniform(0.3, took))
        process.kill()
        process.wait()
    assert imported_hives.start(home, old.root).wait() == 0
    assert imported_hives.facts(home) == whole


def test_in_place_at_start_and_then_it_works(
    old: old_hives.Old, tmp_path: pathlib.Path, test_cache: pathlib.Path
) -> None:
    tmp_path.chmod(0o711)
    home, before = old.root, old_hives.snapshot(old.root)
    with (
        hives.scripted_model() as (url, key),
        hives.hive(home, test_cache, sandbox="base") as hive,
    ):
        hive.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        hive.start()
        for name in ("manager", "coder"):
            hive.until(f"{name} idles", lambda name=name: configuring.idle(hive, name))
        gone = hive.agent("gone")
        assert gone is not None
        assert gone["phase"] == "stopped"
        said = configuring.says(
            hive,
            "manager",
            configuring.bash(
                "cd /agents/coder/config && cat draft.txt && git fetch -q applied && "
                "git log -1 --format=%s applied/main && ls /agents /applied"
            ),
        )
        assert "not committed" in said
        assert "four" in said
        rows = hive.ask("approvals")["approvals"]
        assert [row["id"] for row in rows] == [6, 5, 4, 3, 2, 1]
        # What was decided there can be looked at, and life goes on from where it was.
        assert hive.run("show", "4").returncode == 0
        assert "deployed/1" in hive.run("history", "coder").stdout
        change = (
            "git fetch -q applied\ngit rebase -q applied/main\n"
            "echo 'description = \"mended\"' >> agent.toml"
        )
        number = configuring.proposes(hive, change, "say what it is for")["approval"]
        assert number == 7
        configuring.built(hive, number)
        hive.ask("approve", str(number))
        configuring.ends(hive, number, "deployed")
        coder = next(row for row in hive.ask("list")["agents"] if row["name"] == "coder")
        repository = home / "applied" / f"{coder['id']}.git"
        tagged = lambda: old_hives.git(repository, "tag", "--points-at", "main").split()  # noqa: E731
        hive.until("git has it", lambda: "deployed/7" in tagged())
        assert old_hives.git(repository, "rev-parse", "main~1") == old.commits["four"]
        back = hive.ask("rollback", "coder", "deployed/1")["id"]
        configuring.built(hive, back)
        hive.ask("approve", str(back))
        configuring.ends(hive, back, "deployed")
        log = (home / "log" / "daemon.log").read_text()
        assert "not known to the store" not in log
        assert "the store says" not in log
    aside = home / "before-import"
    kept = old_hives.snapshot(aside)
    # The home's own directory, which the lock made passable before it was set aside.
    del before["agents"], kept["agents"], kept["complete"]
    assert kept == before


def test_it_can_be_skipped_and_tried_first(
    old: old_hives.Old, home: pathlib.Path, tmp_path: pathlib.Path, test_cache: pathlib.Path
) -> None:
    hive = hives.HiveProcess(home, test_cache)
    planned = hive.ask("import", str(old.root), "--dry-run")
    assert planned["state"] == "planned"
    assert [row["name"] for row in planned["agents"]] == ["coder", "gone", "manager"]
    hive.env["HIVE_SKIP_META_MIGRATION"] = "1"
    assert hive.ask("import", str(old.root)) == {"state": "skipped"}
    assert not home.exists()
    assert planned["database"]
    assert planned["agents"][0]["has"] == ["applied", "config", "state", "claude"]
    done = hive.run("import", str(tmp_path / "nothing"))
    assert (done.returncode, home.exists()) == (0, False)
    del hive.env["HIVE_SKIP_META_MIGRATION"]
    assert hive.run("import", str(tmp_path / "nothing")).returncode == 5
    said = hive.run("import", str(old.root), "--dry-run").stdout
    assert "hm1nd  manager  yes   applied, config, state, claude" in said
    assert hive.run("import", str(old.root), "--rename", "x").returncode == 2
    assert not home.exists()


def test_it_is_refused_beside_a_daemon_and_in_a_hive_with_a_life(
    old: old_hives.Old, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with hive_home.hold(home), pytest.raises(errors.HiveError) as refused:
        imported_hives.bring(home, old.root)
    assert refused.value.kind is errors.ErrorKind.CONFLICT
    imported_hives.bring(home, old.root)
    other = old_hives.with_flakes(tmp_path / "other")
    with pytest.raises(errors.HiveError, match="choose another --home"):
        imported_hives.bring(home, other.root)
    with pytest.raises(errors.HiveError, match="neither applied/ nor agents/"):
        imported_hives.bring(tmp_path / "third", tmp_path / "new" / "log")
    assert not (tmp_path / "third").exists()


def test_one_broken_agent_holds_up_nobody(old: old_hives.Old, home: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("run as root: others must be able to own a repository")
    # Somebody else could have written to it.
    gone = old.root / "applied" / "gone"
    gone.chmod(0o777)
    # A name that is none here, and a link where a directory was.
    (old.root / "agents" / "Bad_Name" / "state").mkdir(parents=True)
    (old.root / "agents" / "linked").symlink_to("/etc")
    made = imported_hives.bring(home, old.root)
    assert made.state == "incomplete"
    told = {row.old: " ".join(row.problems) for row in made.agents}
    assert "cannot trust" in told["gone"]
    assert "'Bad_Name' as an agent name" in told["Bad_Name"]
    assert (told["coder"], told["hm1nd"]) == ("", "")
    assert "linked" not in told
    found = imported_hives.facts(home)
    assert [row[0] for row in found["deployments"]] == ["coder", "manager"]
    # Mended, it goes on where it stood.
    gone.chmod(0o755)
    made = imported_hives.bring(home, old.root, renamed={"Bad_Name": "good-name"})
    assert made.state == "imported"
    found = imported_hives.facts(home)
    assert [row[0] for row in found["deployments"]] == ["coder", "gone", "manager"]
    assert "good-name" in [row[0] for row in found["agents"]]


def test_what_an_agent_wrote_runs_nothing_and_reaches_nothing(
    old: old_hives.Old, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    ran = tmp_path / "ran"
    evil = f'[core]\n\tfsmonitor = "touch {ran}; false"\n\tsshCommand = touch {ran}\n'
    for repository in ("agents/coder/config", "applied/coder"):
        directory = old.root / repository / ".git"
        with (directory / "config").open("a") as config:
            config.write(evil)
        for name in ("post-checkout", "reference-transaction", "pre-receive"):
            hook = directory / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
            hook.chmod(0o755)
    # Objects of another repository, which root could read.
    victim = tmp_path / "victim"
    old_hives.init(victim)
    secret = old_hives.commit(victim, "secret", secret__txt=b"of the victim\n")
    info = old.root / "applied" / "coder" / ".git" / "objects" / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{victim}/.git/objects\n")
    refs = old.root / "applied" / "coder" / ".git" / "refs" / "tags" / "proposal"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "9").write_text(f"{secret}\n")
    # A directory of an agent that leads away.
    state = old.root / "agents" / "gone" / "state"
    state.rename(old.root / "agents" / "gone" / "was")
    state.symlink_to(victim)
    made = imported_hives.bring(home, old.root)
    assert not ran.exists()
    told = {row.old: row for row in made.agents}
    assert told["coder"].deployed == old.commits["four"]
    assert any(secret in said or "proposal/9" in said for said in
               told["coder"].problems + told["coder"].left)  # fmt: skip
    found = imported_hives.facts(home)
    assert secret not in found["refs"]["coder"][1]
    assert not any("secret.txt" in path for path in found["files"])


def test_a_commit_that_no_proposal_could_be_is_told_of_and_left(
    old: old_hives.Old, home: pathlib.Path
) -> None:
    applied = old.root / "applied" / "coder"
    old_hives.git(applied, "checkout", "-q", "-b", "bad")
    (applied / "link").symlink_to("/etc/passwd")
    bad = old_hives.commit(applied, "a link")
    old_hives.git(applied, "tag", "proposal/8")
    old_hives.git(applied, "checkout", "-q", "main")
    made = imported_hives.bring(home, old.root)
    assert made.state == "incomplete"
    [problem] = next(row.problems for row in made.agents if row.old == "coder")
    assert bad in problem
    assert "symbolic link" in problem
    found = imported_hives.facts(home)
    assert ("coder", old.commits["four"]) in [row[:2] for row in found["deployments"]]
    assert bad not in found["refs"]["coder"][1]
