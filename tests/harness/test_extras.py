"""What a configuration adds to the program: servers, variables, and secrets that nobody sees."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.harness import claude, extras, turn
from rigs.harness_daemon import plan

CLOCK = {"command": "clock", "args": ["-z"], "env": {"A": "${TZ}"}, "secrets": {"TOKEN": "s3cret!"}}


def with_extras(**more: Any) -> dict[str, Any]:
    return plan("x") | more


def expand(text: str, env: dict[str, str]) -> str:
    """As the program does it: once, and missing ones stay."""
    for name, value in env.items():
        text = text.replace("${" + name + "}", f"\0{value.replace('$', chr(1))}\0")
    return text.replace("\0", "").replace("\1", "$")


def test_extra_servers_stand_beside_our_own() -> None:
    made = claude.mcp_config(with_extras(mcp_servers={"clock": CLOCK}))["mcpServers"]
    assert made["hive"] == {"type": "sdk", "name": "hive"}
    assert made["clock"] == {
        "type": "stdio", "command": "clock", "args": ["-z"],
        "env": {"A": "${TZ}", "TOKEN": "s3cret!"},
    }  # fmt: skip


def test_nobody_takes_the_place_of_our_own_server() -> None:
    given = with_extras(mcp_servers={"hive": {"command": "evil"}})
    assert claude.mcp_config(given)["mcpServers"] == claude.OWN_SERVER
    assert extras.names(given) == []


@pytest.mark.parametrize(
    "broken", [5, ["x"], {"bad": None}, {"bad": {}}, {"bad": {"command": 5}},
               {"bad": {"command": "x", "args": [1]}}, {"bad": {"command": "x", "env": "y"}},
               {"bad": {"command": "x\0"}}]
)  # fmt: skip
def test_a_broken_entry_leaves_all_extras_out_and_says_so(broken: Any) -> None:
    given = {"clock": CLOCK, **broken} if isinstance(broken, dict) else broken
    made = with_extras(mcp_servers=given)
    servers, wrong = extras.servers(made)
    assert servers == {}
    assert "are left out" in wrong
    assert claude.mcp_config(made)["mcpServers"] == claude.OWN_SERVER
    extras.hidden(made)


@given(st.text(alphabet="${}ATZ x\\", max_size=30))
def test_a_secret_reaches_its_server_as_it_is(value: str) -> None:
    given = with_extras(mcp_servers={"clock": {"command": "c", "secrets": {"TOKEN": value}}})
    env = claude.mcp_config(given)["mcpServers"]["clock"]["env"]
    outside = {"TZ": "wrong", "A": "wrong", extras.DOLLAR: "$"}
    assert expand(env["TOKEN"], outside) == value


def test_variables_of_the_agent_do_not_replace_what_the_hive_sets() -> None:
    paths = claude.Paths("/opt/hive/claude", "/state", "/tmp/hive-x")
    given = with_extras(secrets={"TOKEN": "s3cret!", "HOME": "/evil", "NUL": "a\0b", "N": 5})
    env = claude.environment(given, paths, {}, 4100, 3128)
    assert env["TOKEN"] == "s3cret!"
    assert env["HOME"] == "/state"
    assert "NUL" not in env and "N" not in env
    words = claude.arguments(given, paths, False)
    assert not any("s3cret!" in word for word in words)


def test_files_with_secrets_are_closed_to_others(tmp_path: pathlib.Path) -> None:
    paths = claude.Paths("c", str(tmp_path), str(tmp_path))
    claude.write_files(with_extras(mcp_servers={"clock": CLOCK}), paths)
    assert (tmp_path / "mcp.json").stat().st_mode & 0o777 == 0o600
    assert "s3cret!" in (tmp_path / "mcp.json").read_text()


def test_another_secret_or_server_needs_another_process() -> None:
    one = plan("x")
    same = claude.launch_key(one)
    assert claude.launch_key(one | {"warnings": ["w"], "mcp_servers": None}) == same
    keys = {
        same,
        claude.launch_key(one | {"secrets": {"A": "1"}}),
        claude.launch_key(one | {"secrets": {"A": "2"}}),
        claude.launch_key(one | {"mcp_servers": {"clock": CLOCK}}),
        claude.launch_key(one | {"mcp_servers": {"clock": {**CLOCK, "args": []}}}),
    }
    assert len(keys) == 5


def test_secrets_are_hidden_in_every_text() -> None:
    pem = "-----BEGIN-----\nabcdefgh\n-----END-----"
    marks = extras.hidden(
        with_extras(secrets={"A": "hunter22", "SHORT": "abc", "PEM": pem},
                    mcp_servers={"clock": CLOCK, "odd": 5})
    )  # fmt: skip
    shown = extras.hide(
        {"text": "x hunter22 y abc", "deep": [{"hunter22": f"a{pem}b"}], "n": 5, "t": "s3cret!",
         "line": "abcdefgh"}, marks
    )  # fmt: skip
    assert shown == {
        "text": "x [secret A] y abc", "deep": [{"[secret A]": "a[secret PEM]b"}], "n": 5,
        "t": "[secret TOKEN]", "line": "[secret PEM]",
    }  # fmt: skip
    text = json.dumps(shown)
    assert extras.hide(text, []) is text


def init(*servers: tuple[str, str]) -> dict[str, Any]:
    found = [{"name": name, "status": status} for name, status in (("hive", "connected"), *servers)]
    return {"type": "system", "subtype": "init", "mcp_servers": found}


def said(does: list[turn.Do]) -> list[str]:
    return [do.args[1]["text"] for do in does if do.verb == "emit" and do.args[0] == "note"]


def reported(does: list[turn.Do]) -> list[Any]:
    return [do.args[1] for do in does if do.verb == "report_servers"]


def test_how_servers_stand_is_said_when_it_has_changed() -> None:
    machine = turn.Machine()
    given = with_extras(mcp_servers={"clock": CLOCK, "dead": CLOCK}, warnings=["no secret x"])
    assert "no secret x" in said(machine.planned(given))
    does = machine.line(init(("clock", "connected"), ("dead", "failed")))
    assert said(does) == ["MCP server dead: failed; its tools are missing"]
    assert reported(does) == [
        [{"name": "clock", "status": "connected"}, {"name": "dead", "status": "failed"}]
    ]
    does = machine.line(init(("clock", "connected"), ("dead", "failed")))
    assert reported(does) == []
    does = machine.line(init(("clock", "connected")))
    assert reported(does) == [
        [{"name": "clock", "status": "connected"}, {"name": "dead", "status": "missing"}]
    ]


def test_a_plan_of_an_older_daemon_runs_as_before() -> None:
    machine = turn.Machine()
    machine.planned(plan("x"))
    does = machine.line(init())
    assert (said(does), reported(does)) == ([], [])
