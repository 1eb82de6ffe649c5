"""What a turn used, as the real claude program says it, held against what the model was asked.

The scripted model reports fixed tokens, so equal turns must cost the same: a figure that
is cumulative for the session, or that forgets a request, would show.
"""

from __future__ import annotations

import os
import signal
import uuid
from typing import Any

import pytest

from hyperhive.scripted_model import speech
from rigs.harness_daemon import plan
from rigs.harness_run import Harness, command_lines, eventually
from rigs.harness_run import harness as harness
from rigs.scripts import script

pytestmark = pytest.mark.system

REPORTED = {"input": 1000, "output": 50, "cache_read": 2000, "cache_write": 300}
STEPS: tuple[dict[str, Any], ...] = ({"say": "done"}, {"usage": REPORTED})
RECORDED = {
    "input_tokens": 1000,
    "output_tokens": 50,
    "cache_read_tokens": 2000,
    "cache_write_tokens": 300,
    "context_tokens": 3300,
}


def tokens(end: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in end["usage"].items() if name != "cost_usd"}


def test_equal_turns_of_one_session_cost_the_same_however_the_program_ended(
    harness: Harness,
) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    cold = daemon.ended(daemon.give(plan(script(*STEPS), session=session)))
    assert tokens(cold) == RECORDED
    assert cold["usage"]["cost_usd"] > 0

    [pid] = harness.claude_pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not harness.claude_pids())
    again = plan(script(*STEPS), session=session, resume=True, warm_seconds=0.0)
    killed = daemon.ended(daemon.give(again))
    eventually(lambda: not harness.claude_pids())
    # Now the program has left by itself, and the next one goes on with the session's total.
    resumed = daemon.ended(daemon.give(plan(script(*STEPS), session=session, resume=True)))
    warm = daemon.ended(daemon.give(plan(script(*STEPS), session=session, resume=True)))
    assert [tokens(end) for end in (killed, resumed, warm)] == [RECORDED] * 3
    costs = [end["usage"]["cost_usd"] for end in (killed, resumed, warm)]
    assert costs == [cold["usage"]["cost_usd"]] * 3


def test_a_turn_with_tools_is_the_sum_of_its_requests(harness: Harness) -> None:
    daemon = harness.daemon
    first = {"tool": "Bash", "input": {"command": "echo one"}}
    both = [first, {"tool": "Bash", "input": {"command": "echo two"}}]
    body = script({"usage": REPORTED}, *both, *STEPS)
    end = daemon.ended(daemon.give(plan(body)))
    assert end["outcome"] == "ok", daemon.tell()
    assert end["tool_calls"] == 2
    estimated = speech.estimate(harness.model.requests[1].body)
    assert end["usage"]["input_tokens"] == 2000 + estimated
    assert end["usage"]["cache_read_tokens"] == 4000
    assert end["usage"]["context_tokens"] == 3300, "the last request's, not the sum"


def test_an_interrupted_turn_has_its_figures_and_the_next_only_its_own(harness: Harness) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    long = {"tool": "Bash", "input": {"command": "sleep 987655"}}
    turn = daemon.give(plan(script({"usage": REPORTED}, long, {"say": "x"}), session=session))
    daemon.wait(lambda: daemon.of_kind("tool_use", turn))
    eventually(lambda: any("987655" in line for _, line in command_lines()))
    daemon.order(turn)
    stopped = daemon.ended(turn)
    assert (stopped["outcome"], stopped["tool_calls"]) == ("interrupted", 1)
    assert tokens(stopped) == RECORDED
    after = daemon.ended(daemon.give(plan(script(*STEPS), session=session, resume=True)))
    assert tokens(after) == RECORDED
    assert after["usage"]["cost_usd"] == stopped["usage"]["cost_usd"]


def test_a_turn_that_reached_no_model_used_nothing(harness: Harness) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    daemon.ended(daemon.give(plan(script(*STEPS), session=session)))
    body = script({"error": 500, "times": "always"})
    failed = daemon.ended(daemon.give(plan(body, session=session, resume=True)))
    assert failed["outcome"] == "failed"
    assert set(failed["usage"].values()) == {0}


def test_what_compacting_took_is_counted_once(harness: Harness) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    for number in range(2):
        body = plan(script({"say": "long " * 200}), session=session, resume=number > 0)
        assert daemon.ended(daemon.give(body))["outcome"] == "ok"
    body = script({"error": "prompt_too_long", "times": 1}, {"say": "fits now"})
    refused = daemon.ended(daemon.give(plan(body, session=session, resume=True)))
    assert refused["outcome"] == "too_long"
    assert refused["usage"]["input_tokens"] == 0
    before = len(harness.model.requests)
    made = plan(session=session, resume=True) | {"kind": "compaction", "woke_by": "asked"}
    end = daemon.ended(daemon.give(made))
    assert end["outcome"] == "ok", daemon.tell()
    answered = [one for one in harness.model.requests[before:] if one.answer == "message"]
    assert end["usage"]["input_tokens"] == sum(speech.estimate(one.body) for one in answered) > 0
    assert end["usage"]["cost_usd"] > 0
    after = daemon.ended(daemon.give(plan(script(*STEPS), session=session, resume=True)))
    assert tokens(after) == RECORDED, "not counted again"
