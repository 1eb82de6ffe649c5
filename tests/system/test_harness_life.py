"""The life of a harness: the daemon goes away, signals, leftovers, memory."""

from __future__ import annotations

import pathlib
import sys
import threading
import uuid
from typing import Any

import pytest

from rigs.harness_daemon import plan
from rigs.harness_run import Harness, eventually, scripted_model
from rigs.harness_run import harness as harness
from rigs.scripts import script

pytestmark = pytest.mark.system

MEGABYTE = 1024 * 1024


def test_a_turn_survives_the_daemon(harness: Harness) -> None:
    daemon = harness.daemon
    body = script(
        {"tool": "Bash", "input": {"command": "while [ ! -e go ]; do sleep 0.05; done"}},
        {"say": "finished alone"},
    )
    turn = daemon.give(plan(body))
    daemon.wait(lambda: daemon.of_kind("tool_use", turn))
    daemon.hang_up()
    (harness.state / "go").touch()
    eventually(lambda: ": ok" in harness.log())
    daemon.listen()
    assert daemon.ended(turn)["outcome"] == "ok"
    daemon.wait(lambda: daemon.of_kind("result", turn))
    assert [told["text"] for told in daemon.of_kind("text", turn)] == ["finished alone"]
    assert len(set(daemon.hellos)) == 1, "the same boot greets again"


def test_a_tool_call_survives_the_daemon_and_says_so(harness: Harness) -> None:
    daemon = harness.daemon
    parked, back = threading.Event(), threading.Event()

    def park(name: str, _given: dict[str, Any]) -> dict[str, Any]:
        if not parked.is_set():
            parked.set()
            back.wait(30)
        return {"content": [{"type": "text", "text": f"{name}: at last"}]}

    daemon.on_tool = park
    call = {"tool": "mcp__hive__recv", "input": {"wait_seconds": 100}}
    turn = daemon.give(plan(script(call, {"say": "{{last_result}}"})))
    assert parked.wait(20)
    daemon.hang_up()
    daemon.listen()
    daemon.wait(lambda: len(daemon.hellos) > 1)
    back.set()
    assert daemon.ended(turn)["outcome"] == "ok"
    result = daemon.wait(lambda: daemon.of_kind("tool_result", turn))[0]["content"]
    assert "recv: at last" in result
    assert "the hive was away for" in result
    keys = [c["key"] for c in daemon.mcp_calls if c["message"]["method"] == "tools/call"]
    assert len(keys) == 2 and len(set(keys)) == 1, "the repeat carries the same key"


def test_a_refused_tool_call_is_an_error_for_the_model_only(harness: Harness) -> None:
    daemon = harness.daemon

    def refuse(_name: str, _given: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    first = daemon.give(plan(script({"say": "warm"})))
    assert daemon.ended(first)["outcome"] == "ok"
    daemon.on_tool = refuse
    daemon.refuse["mcp"] = ("unavailable", "the disk is full")
    session = daemon.sessions[0]["session"]
    call = {"tool": "mcp__hive__recv", "input": {}}
    turn = daemon.give(plan(script(call, {"say": "oh"}), session=session, resume=True))
    assert daemon.ended(turn)["outcome"] == "ok"
    result = daemon.wait(lambda: daemon.of_kind("tool_result", turn))[0]
    assert result["is_error"]
    assert "the disk is full" in result["content"]


@pytest.mark.parametrize("busy", [True, False])
def test_sigterm_ends_all_quickly_and_finishes_nothing(harness: Harness, busy: bool) -> None:
    daemon = harness.daemon
    if busy:
        body = script({"tool": "Bash", "input": {"command": "sleep 60"}}, {"say": "never"})
        daemon.give(plan(body))
        daemon.wait(lambda: daemon.of_kind("tool_use"))
    else:
        assert daemon.ended(daemon.give(plan(script({"say": "hi"}))))["outcome"] == "ok"
    ended = len(daemon.finishes)
    code, seconds = harness.terminate()
    assert code == 0
    assert seconds < 5
    assert harness.claude_pids() == []
    assert len(daemon.finishes) == ended


def test_no_process_outlives_a_killed_harness_and_the_next_one_goes_on(harness: Harness) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    body = script({"tool": "Bash", "input": {"command": "sleep 60"}}, {"say": "never"})
    turn = daemon.give(plan(body, session=session))
    daemon.wait(lambda: daemon.of_kind("tool_use", turn))
    harness.kill()
    eventually(lambda: not harness.claude_pids())
    daemon.order(turn)
    harness.start()
    assert daemon.ended(turn)["outcome"] == "interrupted"
    assert len(set(daemon.hellos)) == 2, "another process, another boot"


def test_two_harnesses_never_share_a_state_directory(harness: Harness) -> None:
    harness.daemon.wait(lambda: harness.daemon.hellos)
    first = harness.process
    harness.start()
    assert harness.process is not None
    assert harness.process.wait(20) == 2
    assert "another harness holds" in harness.log()
    harness.process = first


def test_an_idle_harness_is_small_and_sleeps(harness: Harness) -> None:
    daemon = harness.daemon
    daemon.wait(lambda: daemon.hellos)
    assert harness.resident() < 20 * MEGABYTE
    body = script({"tool": "Bash", "input": {"command": "seq 60000"}}, {"say": "done"})
    assert daemon.ended(daemon.give(plan(body, warm_seconds=0.0)))["outcome"] == "ok"
    eventually(lambda: not harness.claude_pids())
    assert harness.resident() < 20 * MEGABYTE

    def slept() -> bool:
        before = harness.wake_ups()
        return not threading.Event().wait(1.5) and harness.wake_ups() == before

    eventually(slept)


def test_a_missing_program_fails_the_turn_with_the_reason(tmp_path: pathlib.Path) -> None:
    with scripted_model() as model:
        harness = Harness(tmp_path, str(tmp_path / "nothing"), model)
        harness.start()
        try:
            end = harness.daemon.ended(harness.daemon.give(plan("hello")))
        finally:
            harness.close()
    assert end["outcome"] == "failed"
    assert "cannot run" in end["note"]
    assert "No such file" in end["note"]


def test_it_runs_on_an_old_python(harness: Harness) -> None:
    old = [path for path in map(pathlib.Path, OLD_PYTHONS) if path.exists()]
    if not old:
        pytest.skip(f"no Python 3.9 on this host (looked at {', '.join(OLD_PYTHONS)})")
    harness.daemon.wait(lambda: harness.daemon.hellos)
    assert harness.terminate()[0] == 0
    harness.start(str(old[0]))
    end = harness.daemon.ended(harness.daemon.give(plan(script({"say": "old"}))))
    assert end["outcome"] == "ok"


OLD_PYTHONS = (
    "/usr/bin/python3.9",
    str(pathlib.Path(sys.base_prefix).parent / "3.9.18/bin/python3.9"),
)
