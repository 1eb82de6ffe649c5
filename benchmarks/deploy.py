"""How long a configuration takes, beside the same done by hand in the same run.

    python benchmarks/deploy.py [--rounds 7] [--json] [--cache DIR] [--sandbox base|host]

A real hive with the real claude program; only the model is scripted. "Submit to card" is from the
manager's request to a card that can be approved, "approve to running" from the click to the
restarted agent's answer. By hand is `git fetch` and `git tag` in a repository of the same
contents, and `hive restart`. Medians of the rounds; each round does both, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess  # noqa: TID251 - this is not the daemon
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from hyperhive.cli import client

TARGETS = {"submit to card": 1.0, "approve to running": 3.0}
"""Seconds, for a small configuration without packages."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cache", type=pathlib.Path, default=None)
    parser.add_argument("--sandbox", choices=("base", "host"), default="host")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hive-deploy-") as top:
        figures = measure(pathlib.Path(top), options)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    if options.json:
        print(json.dumps({"medians": medians, "rounds": figures}))
        return
    for name, values in figures.items():
        target = f"  (target {TARGETS[name]:g} s)" if name in TARGETS else ""
        print(f"{name:28} {medians[name]:7.3f} s   {min(values):.3f} to {max(values):.3f}{target}")
    ratio = medians["approve to running"] / medians["by hand: tag and restart"]
    print(f"{'approve / by hand':28} {ratio:7.2f} x")


def measure(top: pathlib.Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every round, by what was measured."""
    figures: dict[str, list[float]] = {
        "submit to card": [],
        "approve to running": [],
        "by hand: fetch": [],
        "by hand: tag and restart": [],
    }
    with model() as (url, key), hive(top, options, url, key) as admin:
        admin.call("spawn", name="coder")
        until(lambda: idle(admin, "coder") and idle(admin, "manager"))
        for number in range(options.rounds):
            one_round(top, admin, number, figures)
    return figures


def one_round(
    top: pathlib.Path, admin: client.AdminClient, number: int, figures: dict[str, list[float]]
) -> None:
    """One change by the hive, then one by hand."""
    admin.call("send", to="manager", body=order(number))
    row = until(lambda: waiting(admin, number))
    figures["submit to card"].append(card_seconds(row))
    begin = time.monotonic()
    admin.call("approve", id=row["id"], digest=row["digest"])
    until(lambda: deployed(admin, row["id"]) and idle(admin, "coder"))
    figures["approve to running"].append(time.monotonic() - begin)
    fetch, restart = by_hand(top, admin, number)
    figures["by hand: fetch"].append(fetch)
    figures["by hand: tag and restart"].append(restart)


def by_hand(top: pathlib.Path, admin: client.AdminClient, number: int) -> tuple[float, float]:
    """What somebody without a hive would type."""
    proposed, plain = top / "hand-proposed", top / "hand.git"
    if not plain.exists():
        git(top, "init", "-q", "--bare", str(plain))
        git(top, "init", "-q", "-b", "main", str(proposed))
    (proposed / "note.txt").write_text(f"{number}\n")
    git(proposed, "add", "-A")
    git(proposed, "commit", "-qm", f"change {number}")
    begin = time.monotonic()
    git(plain, "fetch", "-q", str(proposed), "main:refs/heads/main")
    fetched = time.monotonic()
    git(plain, "tag", f"deployed/{number}", "main")
    before = agent(admin, "coder")["pid"]
    admin.call("restart", name="coder")
    until(lambda: idle(admin, "coder") and agent(admin, "coder")["pid"] != before)
    return fetched - begin, time.monotonic() - fetched


def card_seconds(row: dict[str, Any]) -> float:
    """From the request to the build's end, by the daemon's own clock."""
    asked = datetime.fromisoformat(row["requested_at"])
    return (datetime.fromisoformat(row["proposal"]["changed_at"]) - asked).total_seconds()


def order(number: int) -> str:
    """A mail that makes the manager commit and propose change *number*."""
    commands = (
        "(cd /agents/coder/config && git fetch -q applied && git reset -q --hard applied/main && "
        f"echo {number} > note.txt && git add -A && git commit -qm 'change {number}' >/dev/null; "
        "git rev-parse HEAD)"
    )
    asked = {"agent": "coder", "commit_ref": "{{last_result}}", "description": f"change {number}"}
    steps = [
        {"tool": "Bash", "input": {"command": commands}},
        {"tool": "mcp__hive__request_apply_commit", "input": asked},
    ]
    return f"<script>{json.dumps(steps)}</script>"


def waiting(admin: client.AdminClient, number: int) -> dict[str, Any] | None:
    """The approval of change *number*, once it is built."""
    for row in admin.call("pending")["approvals"]:
        built = row["proposal"] is not None and row["proposal"]["build"] == "built"
        if row["description"] == f"change {number}" and built:
            return row
    return None


def deployed(admin: client.AdminClient, number: int) -> bool:
    """Whether an approval has come to its end."""
    rows = admin.call("approvals", limit=20)["approvals"]
    return any(row["id"] == number and row["state"] == "deployed" for row in rows)


def agent(admin: client.AdminClient, name: str) -> dict[str, Any]:
    """The row of an agent; empty when there is none."""
    return next((row for row in admin.call("list")["agents"] if row["name"] == name), {})


def idle(admin: client.AdminClient, name: str) -> bool:
    """Whether an agent runs and waits for mail."""
    row = agent(admin, name)
    return (row.get("phase"), row.get("turn_state")) == ("running", "idle")


def until(reached: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Ask every 10 ms until it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = reached()
        if found:
            return found
        time.sleep(0.01)
    raise SystemExit("the hive did not get there in two minutes")


def git(where: pathlib.Path, *words: str) -> None:
    """Run git as a person would."""
    env = {
        **_own_environment(), "HOME": str(where), "GIT_AUTHOR_NAME": "hand",
        "GIT_AUTHOR_EMAIL": "hand@example.org", "GIT_COMMITTER_NAME": "hand",
        "GIT_COMMITTER_EMAIL": "hand@example.org",
    }  # fmt: skip
    subprocess.run(["git", "-C", str(where), *words], check=True, env=env)


def _own_environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 - handed to the programs that are measured


@contextlib.contextmanager
def model() -> Iterator[tuple[str, str]]:
    """The scripted Messages API; its URL and the key that it wants."""
    command = [sys.executable, "-m", "hyperhive.scripted_model", "--brain", "puppet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), "sk-ant-any"
        finally:
            process.terminate()


@contextlib.contextmanager
def hive(
    top: pathlib.Path, options: argparse.Namespace, url: str, key: str
) -> Iterator[client.AdminClient]:
    """A hive of its own."""
    home = top / "home"
    env = {
        **_own_environment(), "HIVE_HOME": str(home), "HIVE_SANDBOX": options.sandbox,
        "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key,
    }  # fmt: skip
    if options.cache is not None:
        env["HIVE_CACHE"] = str(options.cache)
    program = [sys.executable, "-m", "hyperhive.cli"]
    with subprocess.Popen(
        [*program, "up", "--json", "--port", "0"], env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield client.AdminClient(home)
        finally:
            subprocess.run([*program, "down"], env=env, check=False, stdout=subprocess.DEVNULL)
            process.wait()


if __name__ == "__main__":
    main()
