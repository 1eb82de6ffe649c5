"""The real claude CLI against the scripted model, straight and through the gateway."""

from __future__ import annotations

import asyncio
import json
import pathlib
import socket
from typing import Any

import pytest

from hyperhive.domain import ids, turns
from hyperhive.edges import gateway
from hyperhive.scripted_model import ScriptedModel, puppet
from rigs import gateways, real_claude
from rigs.scripts import script

pytestmark = pytest.mark.system

LONG = "This sentence is long enough that cutting it in its middle leaves something to repeat."


def play(home: pathlib.Path, *steps: dict[str, Any]) -> tuple[real_claude.Turn, ScriptedModel]:
    async def run() -> tuple[real_claude.Turn, ScriptedModel]:
        model = ScriptedModel(puppet.puppet)
        url = await model.start()
        try:
            return await real_claude.run_turn(home, url, script(*steps)), model
        finally:
            await model.stop()

    return asyncio.run(run())


def test_a_text_turn(tmp_path: pathlib.Path) -> None:
    turn, model = play(
        tmp_path, {"think": "hm"}, {"say": "Hello."}, {"usage": {"input": 1234, "output": 56}}
    )
    assert turn.code == 0
    assert turn.result["result"] == "Hello."
    assert turn.result["usage"]["input_tokens"] == 1234
    assert turn.result["usage"]["output_tokens"] == 56
    # One request a model call and nothing else: no title, quota or telemetry request.
    assert [(one.path, one.answer) for one in model.requests] == [("/v1/messages", "message")]


def test_a_turn_with_tools(tmp_path: pathlib.Path) -> None:
    turn, model = play(
        tmp_path,
        {"say": "I look."},
        {"tools": [
            {"tool": "Bash", "input": {"command": "echo one"}},
            {"tool": "Bash", "input": {"command": "echo $((6 * 7))"}},
        ]},
        {"tool": "Bash", "input": {"command": "echo again {{last_result}}"}},
        {"say": "It was {{last_result}}."},
    )  # fmt: skip
    # The two calls of one step run side by side and may end in any order.
    assert sorted(turn.tool_results[:2]) == ["42", "one"]
    assert turn.tool_results[2:] == ["again 42"]
    assert turn.result["result"] == "It was again 42."
    assert len(model.requests) == 3


@pytest.mark.parametrize(("status", "retries"), [(401, 3), (403, 0)])
def test_a_refused_key(tmp_path: pathlib.Path, status: int, retries: int) -> None:
    turn, _ = play(tmp_path, {"error": status, "times": "always"})
    assert turn.code == 1
    assert turn.result["is_error"] is True
    assert turn.result["api_error_status"] == status
    # The CLI retries a refused key as often as it may; through the gateway it does not.
    assert turn.retries == [status] * retries


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_passing_failure_is_retried(tmp_path: pathlib.Path, status: int) -> None:
    turn, _ = play(tmp_path, {"error": status, "retry_after": 0.1, "times": 2}, {"say": "There."})
    assert turn.retries == [status, status]
    assert turn.code == 0
    assert turn.result["result"] == "There."


@pytest.mark.parametrize(
    ("error", "shown", "reason"),
    [
        ("prompt_too_long", "Prompt is too long", "prompt_too_long"),
        ("credit", "Credit balance is too low", "api_error"),
        (404, "model", "api_error"),
        (413, "Request too large", "image_error"),
    ],
)
def test_a_lasting_failure_ends_the_turn(
    tmp_path: pathlib.Path, error: str | int, shown: str, reason: str
) -> None:
    turn, model = play(tmp_path, {"error": error, "times": "always"})
    assert turn.code == 1
    assert turn.retries == []
    assert turn.result["is_error"] is True
    assert turn.result["terminal_reason"] == reason
    assert shown in turn.result["result"]
    # After 404 the CLI asks once more, unstreamed.
    assert len(model.requests) == (2 if error == 404 else 1)


@pytest.mark.parametrize("fault", [{"cut": 30}, {"snap": 30}])
def test_a_broken_stream_is_recovered(tmp_path: pathlib.Path, fault: dict[str, int]) -> None:
    turn, model = play(tmp_path, fault, {"say": LONG})
    assert turn.code == 0
    assert turn.result["result"] == LONG
    assert len(model.requests) == 2


KEY = "sk-ant-the-hives"


def through_gateway(
    home: pathlib.Path, steps: list[dict[str, Any]], key: str | None
) -> tuple[real_claude.Turn, ScriptedModel, list[turns.Usage]]:
    async def run() -> tuple[real_claude.Turn, ScriptedModel, list[turns.Usage]]:
        model = ScriptedModel(puppet.puppet, require_key=KEY)
        url = await model.start()
        told: list[turns.Usage] = []
        upstream = None if key is None else gateway.api_key_upstream(url, key)
        carrier = gateway.Gateway(
            lambda: upstream, lambda _agent, usage: told.append(usage), gateways.Proxies()
        )
        await carrier.start()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await carrier.serve(ids.new_agent_id(), listener)
        try:
            return await real_claude.run_turn(home, address, script(*steps)), model, told
        finally:
            await carrier.close()
            await model.stop()

    return asyncio.run(run())


def test_a_turn_through_the_gateway(tmp_path: pathlib.Path) -> None:
    turn, model, told = through_gateway(
        tmp_path,
        [
            {"tool": "Bash", "input": {"command": "env"}, "usage": {"input": 10, "output": 2}},
            {"say": LONG, "usage": {"input": 20, "output": 3}},
        ],
        KEY,
    )
    assert turn.result["result"] == LONG
    assert KEY not in json.dumps(turn.events)
    assert [(one.input_tokens, one.output_tokens) for one in told] == [(10, 2), (20, 3)]
    assert {one.answer for one in model.requests} == {"message"}


@pytest.mark.parametrize("key", [None, "sk-ant-wrong"])
def test_a_missing_or_wrong_key_ends_the_turn_at_once_through_the_gateway(
    tmp_path: pathlib.Path, key: str | None
) -> None:
    turn, model, told = through_gateway(tmp_path, [{"say": "never"}], key)
    assert turn.code == 1
    assert turn.retries == []
    assert turn.result["api_error_status"] == 401
    assert len(model.requests) == (0 if key is None else 1)
    assert told == []
