"""Steps that stories about configurations are made of, with a real hive and a scripted model."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.system import hive_process as hives

MAIL_BACK = {"tool": "mcp__hive__send", "input": {"to": "operator", "body": "{{last_result}}"}}


def script(*steps: dict[str, Any]) -> str:
    text = json.dumps(steps).replace("<", "\\u003c")
    return f"<script>{text}</script>"


def bash(command: str) -> dict[str, Any]:
    return {"tool": "Bash", "input": {"command": command}}


@contextlib.contextmanager
def configured_hive(
    home: pathlib.Path, cache: pathlib.Path, *options: str, **env: str
) -> Iterator[hives.HiveProcess]:
    """A running hive on the base root, with coder, whose model plays the scripts in its mail."""
    with (
        hives.scripted_model() as (url, key),
        hives.hive(home, cache, sandbox="base") as process,
    ):
        process.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key, **env}
        process.start(*options)
        process.ask("spawn", "coder")
        for name in ("manager", "coder"):
            process.until(f"{name} idles", lambda name=name: idle(process, name))
        yield process
    assert hives.processes_of(home) == []


@contextlib.contextmanager
def forge(top: pathlib.Path) -> Iterator[dict[str, str]]:
    """A forge of the tests in a process of its own: its ``url``, and a ``token`` for it."""
    top.mkdir()
    tests = pathlib.Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": str(tests)}
    with subprocess.Popen(
        [sys.executable, "-m", "rigs.forge", str(top)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def idle(hive: hives.HiveProcess, name: str) -> bool:
    row = hive.agent(name)
    return row is not None and (row["phase"], row["turn_state"]) == ("running", "idle")


def inbox(hive: hives.HiveProcess) -> list[str]:
    return [row["body"] for row in hive.ask("inbox", "--all")["messages"]]


def says(hive: hives.HiveProcess, name: str, *steps: dict[str, Any]) -> str:
    """Let an agent play *steps* and mail its last result; that."""
    seen = len(inbox(hive))
    hive.ask("send", name, script(*steps, MAIL_BACK))

    def report() -> str:
        found = inbox(hive)
        return found[0] if len(found) > seen else ""

    return hive.until(f"{name} reports", report)


def proposes(hive: hives.HiveProcess, shell: str, why: str) -> dict[str, Any]:
    """The manager changes coder's files by *shell*, commits and proposes; the tool's answer."""
    commands = f"set -e\ncd /agents/coder/config\n{shell}\ngit add -A\ngit commit -qm '{why}'\n"
    steps = (
        bash(f"({commands}) >/dev/null; git -C /agents/coder/config rev-parse HEAD"),
        {
            "tool": "mcp__hive__request_apply_commit",
            "input": {"agent": "coder", "commit_ref": "{{last_result}}", "description": why},
        },
    )
    return json.loads(says(hive, "manager", *steps))


def approval(hive: hives.HiveProcess, number: int) -> dict[str, Any]:
    rows = hive.call("approvals", limit=100)["approvals"]
    return next(row for row in rows if row["id"] == number)


def ends(hive: hives.HiveProcess, number: int, state: str) -> dict[str, Any]:
    row = hive.until(
        f"approval {number} ends",
        lambda: (
            (found := approval(hive, number))["state"] in ("deployed", "failed", "denied") and found
        ),
        180,
    )
    assert row["state"] == state, row
    return row


def built(hive: hives.HiveProcess, number: int) -> dict[str, Any]:
    return hive.until(
        f"approval {number} is built",
        lambda: (c := hive.call("card", id=number))["proposal"]["build"] == "built" and c,
        240,
    )


def git(repository: pathlib.Path, *words: str) -> str:
    """What a person at the host sees (root's own repositories)."""
    done = subprocess.run(
        ["git", "-C", str(repository), *words],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    return done.stdout.strip()
