"""Turn control in a real hive: each command, and a compaction whose parts are killed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.system import hive_process as hives

from rigs.harness_run import command_lines
from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    """A hive with the scripted model, whose manager rests."""
    with hives.hive(tmp_path / "home", test_cache, sandbox="host") as made:
        made.start("--demo")
        made.until("the manager rests", lambda: rests(made))
        yield made


def manager(hive: hives.HiveProcess) -> dict[str, Any]:
    row = hive.agent("manager")
    assert row is not None
    return row


def rests(hive: hives.HiveProcess) -> bool:
    row = hive.agent("manager")
    return bool(row) and row["turn_state"] == "idle" and row["unread"] == 0


def turns(hive: hives.HiveProcess) -> list[dict[str, Any]]:
    return hive.call("turns", name="manager", limit=50)["turns"]


def play(hive: hives.HiveProcess, *steps: dict[str, Any]) -> dict[str, Any]:
    """One whole turn of the manager."""
    before = len(turns(hive))
    hive.call("send", to="manager", body=script(*steps))
    return ended(hive, before + 1)


def ended(hive: hives.HiveProcess, count: int) -> dict[str, Any]:
    """The newest of *count* turns, once it has ended."""

    def look() -> dict[str, Any] | None:
        rows = turns(hive)
        return rows[0] if len(rows) >= count and rows[0]["ended_at"] else None

    return hive.until(f"turn {count} has ended", look)


def claude_of(hive: hives.HiveProcess) -> list[int]:
    """The claude processes of this hive's agents."""
    return [int(line.split()[0]) for line in hives.processes_of(hive.home) if "--print" in line]


def said(done: Any) -> str:
    assert done.returncode == 0, done
    return done.stdout


def test_every_command_takes_effect_when_it_says(hive: hives.HiveProcess) -> None:
    first = play(hive, {"say": "one"})
    assert first["outcome"] == "ok"
    session = manager(hive)["session"]["id"]

    # A model: from the next turn on, and for good.
    assert "from the next turn on" in said(hive.run("model", "manager", "claude-opus-5"))
    assert play(hive, {"say": "two"})["model"] == "claude-opus-5"
    hive.kill()
    hive.start("--demo")
    assert said(hive.run("model", "manager")) == "claude-opus-5\n"
    hive.run("restart", "manager")
    hive.until("it is back", lambda: manager(hive)["phase"] == "running" and rests(hive))
    assert play(hive, {"say": "three"})["model"] == "claude-opus-5"

    # Compacting waits for the turn that runs; the session stays the same.
    before = len(turns(hive))
    hive.call("send", to="manager", body=script({"sleep": 2}, {"say": "four"}))
    hive.until("it thinks", lambda: manager(hive)["turn_state"] == "thinking")
    assert "after this turn" in said(hive.run("compact", "manager"))
    compaction = ended(hive, before + 2)
    assert (compaction["kind"], compaction["outcome"]) == ("compaction", "ok"), compaction
    assert turns(hive)[1]["outcome"] == "ok"
    assert compaction["output_tokens"] > 0
    play(hive, {"say": "five"})
    assert manager(hive)["session"]["id"] == session

    # A new session: for the next turn, and kept after it.
    said(hive.run("new-session", "manager"))
    assert manager(hive)["session"]["id"] == session
    play(hive, {"say": "six"})
    renewed = manager(hive)["session"]["id"]
    assert renewed != session
    play(hive, {"say": "seven"})
    assert manager(hive)["session"]["id"] == renewed

    # A pause outlives the daemon; mail waits.
    said(hive.run("pause", "manager", "--reason", "the bill"))
    hive.kill()
    hive.start("--demo")
    hive.call("send", to="manager", body=script({"say": "eight"}))
    count = len(turns(hive))
    row = manager(hive)
    assert (row["turn_state"], row["unread"]) == ("paused", 1)
    assert row["turn_note"].endswith(": the bill")
    said(hive.run("resume", "manager"))
    assert ended(hive, count + 1)["outcome"] == "ok"

    # Cancel: no process is left, and the session goes on.
    hive.call(
        "send",
        to="manager",
        body=script({"tool": "Bash", "input": {"command": "sleep 918273"}}, {"say": "never"}),
    )
    sleeps = lambda: any("sleep 918273" in line for _, line in command_lines())  # noqa: E731
    hive.until("its shell sleeps", sleeps)
    said(hive.run("interrupt", "manager"))
    assert ended(hive, count + 2)["outcome"] == "interrupted"
    hive.until("its shell is gone", lambda: not sleeps())
    assert play(hive, {"say": "nine"})["outcome"] == "ok"
    assert manager(hive)["session"]["id"] == renewed


def test_too_long_ends_in_a_compacted_session_or_in_a_new_one(hive: hives.HiveProcess) -> None:
    play(hive, {"say": "one"})
    session = manager(hive)["session"]["id"]
    before = len(turns(hive))
    hive.call(
        "send",
        to="manager",
        body=script({"error": "prompt_too_long", "times": 1}, {"say": "fits"}),
    )
    ended(hive, before + 3)
    assert [(t["kind"], t["outcome"]) for t in turns(hive)[:3]] == [
        ("mail", "ok"), ("compaction", "ok"), ("mail", "too_long"),
    ]  # fmt: skip
    assert manager(hive)["session"]["id"] == session

    # Now it cannot be compacted either.
    # The program leaves mail out of a summary that is too long, but never the notes of /state.
    hopeless = script({"compacting": [{"error": "prompt_too_long", "times": "always"}]})
    note = {"file_path": "/state/CLAUDE.md", "content": hopeless}
    play(hive, {"tool": "Write", "input": note}, {"say": "noted"})
    said(hive.run("new-session", "manager"))
    play(hive, {"say": "two"})
    session = manager(hive)["session"]["id"]
    before = len(turns(hive))
    hive.call(
        "send",
        to="manager",
        body=script({"error": "prompt_too_long", "times": 1}, {"say": "fits"}),
    )
    ended(hive, before + 3)
    assert [(t["kind"], t["outcome"]) for t in turns(hive)[:3]] == [
        ("mail", "ok"), ("compaction", "too_long"), ("mail", "too_long"),
    ]  # fmt: skip
    assert manager(hive)["session"]["id"] != session
    assert any("begins a new session" in m["body"] for m in hive.call("inbox")["messages"])
    # Also in the terminal, and to the model: what it had.
    seen = hive.run("watch", "manager", "--no-follow").stdout
    assert "this is a new one" in " ".join(seen.split())


def test_a_window_that_fills_up_is_compacted_before_the_next_mail(
    hive: hives.HiveProcess,
) -> None:
    play(hive, {"usage": {"input": 800_000, "output": 5}}, {"say": "one"})
    assert manager(hive)["session"]["window_tokens"] == 1_000_000
    before = len(turns(hive))
    hive.call("send", to="manager", body=script({"say": "two"}))
    ended(hive, before + 2)
    assert [(t["kind"], t["outcome"]) for t in turns(hive)[:2]] == [
        ("mail", "ok"), ("compaction", "ok"),
    ]  # fmt: skip
    assert manager(hive)["session"]["context_tokens"] < 100_000


def kill_claude(hive: hives.HiveProcess) -> None:
    [pid] = claude_of(hive)
    os.kill(pid, signal.SIGKILL)


def kill_harness(hive: hives.HiveProcess) -> None:
    pid = manager(hive)["pid"]
    os.kill(pid, signal.SIGKILL)


def kill_daemon(hive: hives.HiveProcess) -> None:
    hive.kill()
    hive.start("--demo")


@pytest.mark.parametrize(
    ("kill", "known"),
    [
        # The program may just have finished, or not have begun, when it is killed.
        (kill_claude, [["failed"], ["ok"]]),
        (kill_harness, [["ok", "lost"]]),
        (kill_daemon, [["ok"]]),
    ],
)
def test_whoever_is_killed_in_a_compaction_leaves_a_known_state(
    hive: hives.HiveProcess, kill: Callable[[hives.HiveProcess], None], known: list[list[str]]
) -> None:
    play(hive, {"compacting": [{"sleep": 4}]}, {"say": "one"})
    session = manager(hive)["session"]["id"]
    before = len(turns(hive))
    hive.run("compact", "manager")
    hive.until("it compacts", lambda: manager(hive)["turn_state"] == "compacting")
    hive.until("claude runs", lambda: claude_of(hive))
    kill(hive)
    hive.until("it is done", lambda: not manager(hive)["session"]["compacts_next"])
    hive.until("it rests again", lambda: rests(hive))
    found = [t for t in turns(hive) if t["kind"] == "compaction"]
    assert [t["outcome"] for t in found] in known, turns(hive)
    assert len(turns(hive)) >= before + len(found)
    assert play(hive, {"say": "two"})["outcome"] == "ok"
    assert manager(hive)["session"]["id"] == session
    with contextlib.suppress(ProcessLookupError):
        assert len(claude_of(hive)) == 1, "one process on one session"
