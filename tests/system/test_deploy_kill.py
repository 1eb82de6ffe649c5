"""kill -9 of the daemon at random moments of proposals, decisions and deploys: the store and git
agree at the end, nothing is lost, nothing happened twice, nothing is stuck."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system import hive_process as hives

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

KILLS = int(os.environ.get("HIVE_TEST_KILLS", "5"))
"""How often the daemon is killed; 50 for the full run."""
OVER = ("deployed", "failed", "denied")


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    with (
        hives.scripted_model() as (url, key),
        hives.hive(tmp_path / "home", test_cache, sandbox="host") as process,
    ):
        process.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        process.start()
        process.ask("spawn", "coder")
        for name in ("manager", "coder"):
            process.until(f"{name} idles", lambda name=name: idle(process, name))
        yield process
    assert hives.processes_of(tmp_path / "home") == []


def idle(hive: hives.HiveProcess, name: str) -> bool:
    row = hive.agent(name)
    return row is not None and (row["phase"], row["turn_state"]) == ("running", "idle")


def order(number: int) -> str:
    """What makes the manager commit change *number* and propose it; told twice it is one commit."""
    commands = (
        # In a shell of its own: the CLI adds a line when the directory has changed.
        "(cd /agents/coder/config && git fetch -q applied && git reset -q --hard applied/main && "
        f"echo 'note {number}' > note.txt && git add -A && "
        "export GIT_AUTHOR_DATE=2026-01-01T00:00:00Z GIT_COMMITTER_DATE=2026-01-01T00:00:00Z && "
        f"git commit -qm 'change {number}' >/dev/null; git rev-parse HEAD)"
    )
    asked = {"agent": "coder", "commit_ref": "{{last_result}}", "description": f"change {number}"}
    steps = [
        {"tool": "Bash", "input": {"command": commands}},
        {"tool": "mcp__hive__request_apply_commit", "input": asked},
    ]
    text = json.dumps(steps).replace("<", "\\u003c")
    return f"change {number} <script>{text}</script>"


def approvals_of(hive: hives.HiveProcess) -> list[dict[str, Any]]:
    rows = hive.ask("approvals", "--limit", "200")["approvals"]
    return [row for row in rows if row["kind"] == "apply_commit"]


def persist(hive: hives.HiveProcess, *words: str) -> Any:
    """Ask until there is a daemon that answers; None when it answered no."""
    while True:
        done = hive.run(*words, "--json")
        if done.returncode == 0:
            return json.loads(done.stdout)
        if done.returncode not in (3, 7):
            return None
        time.sleep(0.05)


def drive(hive: hives.HiveProcess, stop: threading.Event, told: list[str]) -> None:
    """The operator: orders one change after the other, and decides on each."""
    number = 0
    while not stop.is_set():
        number += 1
        persist(hive, "send", "manager", order(number), "--key", f"change-{number}")
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            found = persist(hive, "approvals") or {"approvals": []}
            mine = [a for a in found["approvals"] if a["description"] == f"change {number}"]
            if mine and all(a["state"] in OVER for a in mine):
                break
            for row in mine:
                if row["state"] == "pending" and row["proposal"]["build"] == "built":
                    if number % 3 == 0:
                        persist(hive, "deny", str(row["id"]), "--note", f"no {number}")
                    else:
                        persist(hive, "approve", str(row["id"]), "--digest", row["digest"])
            time.sleep(0.1)
        else:
            told.append(f"change {number} never ended: {found}")
            return


def git(repository: pathlib.Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *words],
        capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    return done.stdout


def test_kill_9_in_proposals_and_deploys(hive: hives.HiveProcess) -> None:
    seed = int(os.environ.get("HIVE_TEST_SEED", "0")) or random.randrange(1 << 30)
    print(f"HIVE_TEST_SEED={seed}")
    chance = random.Random(seed)
    stop, told = threading.Event(), list[str]()
    operator = threading.Thread(target=drive, args=(hive, stop, told))
    operator.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 4.0))
            hive.kill()
            hive.start()
    finally:
        stop.set()
        operator.join()
    assert told == [], (
        hive.run("watch", "manager", "--history", "40", "--no-follow").stdout + hive.log()
    )
    hive.until(
        "nothing is under way",
        lambda: (
            all(row["state"] in OVER for row in approvals_of(hive))
            and all(row["proposal"]["step"] == "none" for row in approvals_of(hive))
        ),
        120,
    )
    hive.until("coder is back", lambda: idle(hive, "coder"))
    rows = approvals_of(hive)
    coder = hive.agent("coder")
    assert coder is not None
    assert any(row["state"] == "deployed" for row in rows)

    applied = hive.home / "applied" / f"{coder['id']}.git"
    git(applied, "fsck", "--strict")
    tags = set(git(applied, "tag").split())
    for row in rows:
        number, state = row["id"], row["state"]
        assert f"proposal/{number}" in tags, row
        final = [kind for kind in OVER if f"{kind}/{number}" in tags]
        assert final == [state], (row, final)
        sha = git(applied, "rev-parse", f"{state}/{number}^{{commit}}").strip()
        assert sha == row["proposal"]["sha"]
    newest = max((row for row in rows if row["state"] == "deployed"), key=lambda row: row["id"])
    main = git(applied, "rev-parse", "main").strip()
    assert main == newest["proposal"]["sha"]

    subjects = git(hive.home / "meta", "log", "--format=%s").splitlines()
    for row in rows:
        line = f"deploy coder deployed/{row['id']} {row['proposal']['sha'][:12]}"
        assert subjects.count(line) == (1 if row["state"] == "deployed" else 0), (row, subjects)
    resolved = [
        body["id"]
        for mail in hive.ask("messages", "--limit", "1000")["messages"]
        if mail["type"] == "event" and mail["to"] == "manager"
        for body in [json.loads(mail["body"])]
        if body["event"] == "approval_resolved" and body["kind"] == "apply_commit"
    ]
    assert sorted(resolved) == sorted(row["id"] for row in rows)
    left = list((hive.home / "run" / "import").glob("*"))
    assert left == [], "quarantines are left"
    assert not list((hive.home / "applied").rglob("*.lock"))
