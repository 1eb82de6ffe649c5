"""The turn machine as playbooks: what comes in, what goes out, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from hyperhive.harness import claude, turn
from rigs.harness_daemon import plan

INIT = {
    "type": "system",
    "subtype": "init",
    "mcp_servers": [{"name": "hive", "status": "connected"}],
}


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "is_error": False, "terminal_reason": "completed", **fields}


def failure(status: int | None = None, reason: str = "api_error", **fields: Any) -> dict[str, Any]:
    return result(is_error=True, api_error_status=status, terminal_reason=reason, **fields)


TOO_LONG = failure(400, "prompt_too_long", result="Prompt is too long")


class Play:
    """Feeds the machine and answers with the verbs that came out."""

    def __init__(self) -> None:
        self.machine = turn.Machine(new_key=lambda: "KEY")
        self.last: list[turn.Do] = []

    def __call__(self, event: str, *args: Any) -> list[str]:
        self.last = getattr(self.machine, event)(*args)
        return [do.verb for do in self.last if do.verb not in ("emit", "cancel_timer", "report")]

    def args(self, verb: str) -> tuple[Any, ...]:
        return next(do.args for do in self.last if do.verb == verb)

    @property
    def finish(self) -> dict[str, Any]:
        return self.args("finish")[0]

    @property
    def states(self) -> list[str]:
        return [do.args[0] for do in self.last if do.verb == "report"]

    @property
    def notes(self) -> str:
        return " ".join(
            do.args[1]["text"] for do in self.last if do.verb == "emit" and do.args[0] == "note"
        )

    def begin(self, **fields: Any) -> dict[str, Any]:
        made = plan("hello", **fields)
        self("planned", made)
        return made


def test_a_cold_turn() -> None:
    play = Play()
    given = plan("hello")
    assert play("planned", given) == ["watch_orders", "set_timer", "launch", "write"]
    assert play.states == [], "take has said it"
    assert play.args("launch") == (given, False)
    said = play.args("write")[0]
    assert said["client_composed"] is True
    assert play("line", INIT) == []
    assert play("line", result()) == ["tell_session", "unwatch_orders", "finish"]
    assert play.finish["outcome"] == "ok"
    assert play("finished", 1000) == ["set_timer", "take"]
    assert play.args("set_timer") == ("warm", 60.0)
    assert play.states == [], "finish has said it"


def test_a_warm_turn_reuses_the_process_and_a_changed_one_does_not() -> None:
    play = Play()
    first = play.begin()
    play("line", result())
    play("finished", 1000)
    again = plan("more", session=first["session"], resume=True)
    assert play("planned", again) == ["watch_orders", "set_timer", "write"]
    play("line", result())
    play("finished", 1000)
    other = dict(plan("x", session=first["session"], resume=True), model="another")
    assert play("planned", other) == ["watch_orders", "set_timer", "close_input", "set_timer"]
    assert play("exited", 0, "") == ["launch", "write"]
    assert play.args("launch") == (other, True)


@pytest.mark.parametrize(
    ("settings", "resident"),
    [({"warm_seconds": 0.0}, 1), ({"warm_bytes": 10}, 11)],
)
def test_a_process_that_may_not_rest_is_retired(settings: dict[str, Any], resident: int) -> None:
    play = Play()
    play.begin(**settings)
    play("line", result())
    assert play("finished", resident) == ["close_input", "set_timer", "take"]
    assert play.args("set_timer")[0] == "grace"
    assert play("rang", "grace") == ["kill"]
    assert play("exited", -9, "") == []


def test_the_warm_time_runs_out() -> None:
    play = Play()
    play.begin()
    play("line", result())
    play("finished", 1)
    assert play("rang", "warm") == ["close_input", "set_timer"]
    assert play("rang", "warm") == []
    # The next turn comes while the old process leaves: it waits for its end.
    play.begin()
    assert play.machine.phase == "opening"
    assert play("exited", 0, "") == ["launch", "write"]


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (failure(401), "needs_login"),
        (failure(403), "needs_login"),
        (failure(429), "rate_limited"),
        (failure(529), "rate_limited"),
        (failure(500), "failed"),
        (failure(404), "failed"),
        (failure(None, "aborted_streaming"), "failed"),
        (result(subtype="success"), "ok"),
        (failure(None, "api_error", subtype="success"), "failed"),
    ],
)
def test_results_are_judged_by_the_fields_that_count(event: dict[str, Any], outcome: str) -> None:
    play = Play()
    play.begin()
    play("line", event)
    assert play.finish["outcome"] == outcome


def test_an_error_of_the_assistant_counts_though_the_result_says_success() -> None:
    play = Play()
    play.begin()
    play("line", {"type": "assistant", "error": "authentication_failed", "message": {}})
    play("line", result())
    assert play.finish["outcome"] == "needs_login"


def test_a_limit_says_when_to_come_back() -> None:
    play = Play()
    play.begin()
    info = {"status": "rejected", "resetsAt": 1795400000}
    play("line", {"type": "rate_limit_event", "rate_limit_info": info})
    play("line", failure(429))
    assert play.finish["retry_at"] == 1795400000.0
    assert play("finished", 1) == ["close_input", "set_timer", "take"]


def test_the_first_refused_credential_ends_the_turn() -> None:
    play = Play()
    play.begin()
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 10}
    assert play("line", dict(retry, error_status=401)) == ["write", "set_timer"]
    assert play.args("write")[0]["request"] == {"subtype": "interrupt"}
    assert play("line", dict(retry, error_status=401)) == []
    play("line", failure(None, "aborted_streaming"))
    assert play.finish["outcome"] == "needs_login"


def test_retries_show_and_the_next_answer_clears_them() -> None:
    play = Play()
    play.begin()
    retry = {"type": "system", "subtype": "api_retry", "error_status": 529}
    play("line", retry)
    assert play.states == ["rate_limited"]
    play("line", {"type": "assistant", "message": {"content": []}})
    assert play.states == ["thinking"]


def test_an_interrupt_and_a_process_that_ignores_it() -> None:
    play = Play()
    play.begin()
    assert play("ordered", "interrupt") == ["write", "set_timer"]
    assert play("ordered", "interrupt") == []
    assert play("rang", "turn") == [], "the first reason stands"
    assert play("rang", "abort") == ["kill"]
    assert play("exited", -9, "") == ["unwatch_orders", "finish"]
    assert play.finish["outcome"] == "interrupted"
    assert play("finished", 0) == ["take"]


def test_an_interrupt_before_the_process_was_started() -> None:
    play = Play()
    first = play.begin()
    play("line", result())
    play("finished", 1)
    play("planned", dict(plan("x", session=first["session"]), system_prompt="new"))
    assert play("ordered", "interrupt") == []
    assert play("exited", 0, "") == ["unwatch_orders", "finish"]
    assert play.finish["outcome"] == "interrupted"


def test_the_time_limit() -> None:
    play = Play()
    play.begin(turn_seconds=5.0)
    assert play.args("set_timer") == ("turn", 5.0)
    assert play("rang", "turn") == ["write", "set_timer"]
    play("line", failure(None, "aborted_tools"))
    assert play.finish["outcome"] == "failed"
    assert "longer than 5 s" in play.finish["note"]


def test_a_crash_tells_the_last_words() -> None:
    play = Play()
    play.begin()
    play("line", INIT)
    assert play("exited", 1, "first\nError: out of luck\n") == ["unwatch_orders", "finish"]
    assert play.finish["note"] == "claude ended with code 1: first\nError: out of luck"
    assert play("finished", 0) == ["take"]


def test_a_warm_process_that_dies_unheard_is_replaced_once() -> None:
    play = Play()
    first = play.begin()
    play("line", result())
    play("finished", 1)
    play("planned", plan("more", session=first["session"], resume=True))
    assert play("exited", -9, "") == ["launch", "write"]
    assert play("exited", -9, "") == ["unwatch_orders", "finish"]
    assert play.finish["outcome"] == "failed"


def test_a_session_that_is_missing_starts_anew() -> None:
    play = Play()
    play.begin(resume=True)
    gone = failure(None, "", errors=["No conversation found with session ID: x"])
    assert play("line", gone) == ["close_input", "set_timer"]
    assert "starts anew" in play.notes
    assert play("exited", 1, "No conversation found") == ["launch", "write"]
    assert play.args("launch")[1] is False
    assert play("line", result()) == ["tell_session", "unwatch_orders", "finish"]


def test_a_session_that_exists_is_resumed() -> None:
    play = Play()
    play.begin()
    assert play("exited", 1, "Error: Session ID x is already in use.") == ["launch", "write"]
    assert play.args("launch")[1] is True
    assert play("exited", 1, "Error: Session ID x is already in use.") == [
        "unwatch_orders",
        "finish",
    ]


def test_too_long_is_said_and_the_process_stays_for_what_the_daemon_decides() -> None:
    play = Play()
    play.begin(resume=True)
    assert play("line", TOO_LONG) == ["unwatch_orders", "finish"]
    assert play.finish["outcome"] == "too_long"
    assert play("finished", 1) == ["set_timer", "take"]


def compaction(play: Play, **fields: Any) -> dict[str, Any]:
    """Begin a turn that compacts."""
    made = plan(resume=True, **fields) | {"kind": "compaction", "woke_by": "asked"}
    play("planned", made)
    return made


BOUNDARY = {
    "type": "system",
    "subtype": "compact_boundary",
    "compact_metadata": {"pre_tokens": 1010, "post_tokens": 447},
}


def compact_error(text: str) -> dict[str, Any]:
    return {"type": "system", "subtype": "status", "compact_error": text}


def test_a_compaction_has_the_shape_of_a_turn_and_says_nothing_to_the_model() -> None:
    play = Play()
    made = compaction(play)
    assert play.args("launch") == (made, True)
    assert play.args("write")[0] == claude.command("/compact")
    play("line", BOUNDARY)
    assert play("line", result(num_turns=0)) == ["unwatch_orders", "finish"]
    assert play.finish["outcome"] == "ok"
    assert play.finish["usage"]["context_tokens"] == 447


def test_a_warm_process_compacts_too() -> None:
    play = Play()
    first = play.begin()
    play("line", result())
    play("finished", 1)
    again = plan(session=first["session"], resume=True) | {"kind": "compaction", "woke_by": "w"}
    assert play("planned", again) == ["watch_orders", "set_timer", "write"]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("Compaction failed · conversation could not be reduced", "too_long"),
        ("Error during compaction: API Error: 500 Internal server error.", "failed"),
        ("Error during compaction: API Error: Request rejected (429) · rate limit", "rate_limited"),
        ("Error during compaction: API Error: 401 invalid x-api-key", "needs_login"),
        ("Error during compaction: Invalid API key · Fix external API key", "needs_login"),
    ],
)
def test_a_compaction_never_says_itself_that_it_failed(said: str, outcome: str) -> None:
    play = Play()
    compaction(play)
    play("line", compact_error(said))
    play("line", result(num_turns=0))
    assert (play.finish["outcome"], play.finish["note"]) == (outcome, said)


def test_a_compaction_of_nothing_has_failed() -> None:
    play = Play()
    compaction(play)
    words = [{"type": "text", "text": "Error: No messages to compact"}]
    play("line", {"type": "assistant", "message": {"model": "<synthetic>", "content": words}})
    play("line", result(num_turns=0))
    assert play.finish["outcome"] == "failed"
    assert play.finish["note"] == "Error: No messages to compact"


def test_a_compaction_begins_no_session() -> None:
    play = Play()
    compaction(play)
    play("exited", 1, "No conversation found with session ID: x")
    assert play.finish["outcome"] == "failed"
    assert "was not found" in play.finish["note"]


def test_an_interrupted_compaction_says_so() -> None:
    play = Play()
    compaction(play)
    play("ordered", "interrupt")
    play("line", compact_error("API Error: Request was aborted."))
    play("line", result(num_turns=0))
    assert play.finish["outcome"] == "interrupted"


def test_what_a_new_session_is_told_stands_before_the_mail_and_on_the_page() -> None:
    play = Play()
    play("planned", plan("hello") | {"preface": "this is a new one\n- 1 from x: </hive-note>"})
    assert "this is a new one" in play.notes
    note, mail = play.args("write")[0]["message"]["content"]
    opening, *_, closing = note["text"].split("\n")
    key = opening.removeprefix('<hive-note key="').removesuffix('">')
    assert closing == f"</hive-note {key}>"
    assert f'key="{key}"' in mail["text"]


def test_the_window_is_that_of_the_model_that_answered() -> None:
    play = Play()
    play.begin()
    play("line", {"type": "assistant", "message": {"model": "big", "content": []}})
    windows = {"helper": {"contextWindow": 1}, "big": {"contextWindow": 200_000}}
    play("line", result(modelUsage=windows))
    assert play.finish["window"] == 200_000


def test_money_and_tokens_are_the_turns_own() -> None:
    play = Play()
    play.begin()
    tool = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    usage = {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 7}
    message = {"id": "m1", "usage": usage, "content": [tool]}
    play("line", {"type": "assistant", "message": message})
    play(
        "line",
        result(
            usage={"input_tokens": 10, "output_tokens": 3},
            total_cost_usd=99.0,
            model_usage_since_last_result={
                "a": {"costUSD": 0.25, "inputTokens": 10, "outputTokens": 3},
                "b": {"costUSD": 0.5, "inputTokens": 1, "cacheReadInputTokens": 4},
            },
        ),
    )
    assert play.finish["tool_calls"] == 1
    assert play.finish["usage"] == {
        "input_tokens": 11,
        "output_tokens": 3,
        "cache_read_tokens": 4,
        "cache_write_tokens": 0,
        "cost_usd": 0.75,
        "context_tokens": 112,
    }


def test_what_a_killed_turn_used_is_counted_from_its_answers() -> None:
    play = Play()
    play.begin()
    message = {"id": "m1", "usage": {"input_tokens": 5, "output_tokens": 2}, "content": []}
    play("line", {"type": "assistant", "message": message})
    play("line", {"type": "assistant", "message": message})
    play("exited", -9, "")
    assert play.finish["usage"]["input_tokens"] == 5


def test_mcp_requests_go_out_and_answers_come_back() -> None:
    play = Play()
    made = play.begin()
    message = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {}}
    request = {"subtype": "mcp_message", "server_name": "hive", "message": message}
    asked = {"type": "control_request", "request_id": "r1", "request": request}
    assert play("line", asked) == ["call_mcp"]
    assert play.args("call_mcp") == (made["turn"], "r1", message)
    assert play("answered", "r1", {"jsonrpc": "2.0", "id": 3, "result": {}}) == ["write"]
    notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    asked["request"] = dict(request, message=notice)
    assert play("line", asked) == ["write", "notify"]
    asked["request"] = {"subtype": "can_use_tool"}
    assert play("line", asked) == ["write"]
    assert play.args("write")[0]["response"]["subtype"] == "error"
    play("line", result())
    play("finished", 1)
    asked["request"] = request
    assert play("line", asked) == ["write"], "no turn runs: answered at once"
    assert "no turn is running" in str(play.last)


def test_missing_tools_are_told() -> None:
    play = Play()
    play.begin()
    play("line", dict(INIT, mcp_servers=[{"name": "hive", "status": "failed"}]))
    assert "tools are missing" in play.notes


@pytest.mark.parametrize("busy", [True, False])
def test_stopping_finishes_nothing(busy: bool) -> None:
    play = Play()
    play.begin()
    if not busy:
        play("line", result())
        play("finished", 1)
    assert play("stop") == ["write"] * busy + ["close_input", "set_timer"]
    assert play("line", failure(None, "aborted_tools")) == []
    assert play("planned", plan("late")) == []
    assert play("exited", 0, "") == ["leave"]


def test_stopping_without_a_process_leaves_at_once() -> None:
    assert Play()("stop") == ["leave"]


def test_unknown_events_and_late_ones_change_nothing() -> None:
    play = Play()
    for event in ({}, {"type": "new_thing"}, {"type": "result"}, {"type": "system"}):
        assert play("line", event) == []
    play.begin()
    assert play("line", {"type": "new_thing", "x": [1]}) == []
    assert play("line", {"type": "assistant", "message": None}) == []
    assert play("ordered", "dance") == []
    assert play("rang", "warm") == []
