"""Extra MCP servers and secrets with the real claude program and a real server over stdio."""

from __future__ import annotations

import json
import pathlib
import sys
import uuid
from typing import Any

import pytest

from rigs import mcp_probe
from rigs.harness_daemon import plan
from rigs.harness_run import Harness, eventually
from rigs.harness_run import harness as harness
from rigs.scripts import script

pytestmark = pytest.mark.system

PROBE = str(pathlib.Path(mcp_probe.__file__))
TOKEN = "t0p-${SECRET}-$x${"


def tool_results(messages: list[dict[str, Any]]) -> list[str]:
    """The texts of all tool results that the model was given."""
    found: list[str] = []
    for message in messages:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block.get("type") == "tool_result":
                content = block["content"]
                found.append(content if isinstance(content, str) else content[0]["text"])
    return found


LOOK = {"tool": "mcp__probe__look", "input": {}}


def given(*steps: dict[str, Any], servers: dict[str, Any], **more: Any) -> dict[str, Any]:
    allowed = ["Bash", "mcp__hive", "mcp__probe__look"]
    made = plan(script(*steps), tools=["Bash"], allowed_tools=allowed, **more)
    return made | {"mcp_servers": servers, "secrets": {"AGENT_TOKEN": "agents-own-secret"}}


def test_a_tool_of_an_extra_server_is_called_and_its_secret_shown_to_nobody(
    harness: Harness,
) -> None:
    daemon = harness.daemon
    probe = {
        "command": sys.executable,
        "args": [PROBE, "${AGENT_TOKEN}", "plain"],
        "env": {"LEVEL": "debug"},
        "secrets": {"PROBE_TOKEN": TOKEN},
    }
    steps = [LOOK, {"tool": "mcp__probe__other", "input": {}},
             {"tool": "Bash", "input": {"command": "env; cat ${TMPDIR%/tmp}/mcp.json >&2; true"}},
             {"say": "done"}]  # fmt: skip
    turn = daemon.give(given(*steps, servers={"probe": probe}))
    assert daemon.ended(turn)["outcome"] == "ok", daemon.tell()
    daemon.wait(lambda: daemon.servers == [[{"name": "probe", "status": "connected"}]])

    seen = harness.model.requests[-1].body["messages"]
    text = json.dumps(seen)
    assert "AGENT_TOKEN=agents-own-secret" in text, "the agent's shells have it"
    looked = json.loads(tool_results(seen)[0])
    assert looked["args"] == ["agents-own-secret", "plain"]
    assert looked["env"]["PROBE_TOKEN"] == TOKEN
    assert looked["env"]["LEVEL"] == "debug"

    shown = json.dumps(daemon.wait(lambda: daemon.of_kind("result", turn) and daemon.events))
    assert "[secret AGENT_TOKEN]" in shown and "[secret PROBE_TOKEN]" in shown
    journal = "".join(path.read_text() for path in (harness.state / ".hive").glob("events*"))
    for place in (shown, harness.log(), json.dumps(daemon.finishes), journal):
        assert "agents-own-secret" not in place
        assert "t0p-" not in place
    environ = [
        pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode() for pid in harness.claude_pids()
    ]
    assert not any("PROBE_TOKEN" in each for each in environ), "a server's secret is its own"
    results = daemon.of_kind("tool_result", turn)
    assert results[1]["is_error"], "a tool that is not on the list is refused"


def test_a_fetch_asks_nobody_but_the_egress_proxy(harness: Harness) -> None:
    daemon = harness.daemon
    fetch = {"tool": "WebFetch", "input": {"url": "https://example.org/", "prompt": "what is it"}}
    made = plan(script(fetch, {"say": "done"}), tools=["WebFetch"], allowed_tools=["WebFetch"])
    assert daemon.ended(daemon.give(made))["outcome"] == "ok", daemon.tell()
    [result] = daemon.of_kind("tool_result", made["turn"])
    assert result["is_error"], "nothing listens where the proxy would be"
    assert "Unable to verify" not in result["content"]


def test_a_broken_server_costs_its_tools_and_nothing_else(harness: Harness) -> None:
    daemon = harness.daemon
    servers = {
        "probe": {"command": sys.executable, "args": [PROBE]},
        "dead": {"command": "/nonexistent/server"},
        "false": {"command": "false"},
    }
    turn = daemon.give(given(LOOK, {"say": "done"}, servers=servers))
    assert daemon.ended(turn)["outcome"] == "ok", daemon.tell()
    daemon.wait(
        lambda: daemon.servers == [
            [{"name": "probe", "status": "connected"}, {"name": "dead", "status": "failed"},
             {"name": "false", "status": "failed"}]
        ]
    )  # fmt: skip
    assert "MCP server dead: failed; its tools are missing" in daemon.notes()
    assert not daemon.of_kind("tool_result", turn)[0]["is_error"]


def test_a_changed_set_of_servers_is_there_in_the_next_turn(harness: Harness) -> None:
    daemon, session = harness.daemon, str(uuid.uuid4())
    first = given({"say": "one"}, servers={}, session=session)
    assert daemon.ended(daemon.give(first))["outcome"] == "ok"
    [pid] = harness.claude_pids()
    servers = {"probe": {"command": sys.executable, "args": [PROBE]}}
    second = given(LOOK, {"say": "two"}, servers=servers, session=session, resume=True)
    assert daemon.ended(daemon.give(second))["outcome"] == "ok", daemon.tell()
    assert pid not in harness.claude_pids()
    assert not daemon.of_kind("tool_result", second["turn"])[0]["is_error"]
    third = given({"say": "three"}, servers={}, session=session, resume=True)
    assert daemon.ended(daemon.give(third))["outcome"] == "ok", daemon.tell()
    daemon.wait(lambda: daemon.servers[-1] == [])
    eventually(lambda: len(harness.claude_pids()) == 1)
