"""Exit codes and messages that scripts rely on, and what hostile text may not do."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("kind", "code"),
    [("invalid", 2), ("forbidden", 4), ("not_found", 5), ("conflict", 6), ("unavailable", 7)],
)
def test_a_refusal_has_the_exit_code_of_its_kind(
    hive: Any, daemon: Any, kind: str, code: int
) -> None:
    daemon.errors["list"] = {"kind": kind, "message": "cannot list: because"}
    done = hive("list")
    assert (done.code, done.out, done.err) == (code, "", "hive: cannot list: because\n")
    done = hive("list", "--json")
    assert (done.code, done.out) == (code, "")
    assert json.loads(done.err) == {"error": {"kind": kind, "message": "cannot list: because"}}


def test_a_bug_of_the_daemon_is_exit_code_1_without_a_traceback(hive: Any, daemon: Any) -> None:
    daemon.errors["list"] = {"kind": "bug", "message": "internal error, reference 1a2b"}
    done = hive("list")
    assert (done.code, done.err) == (1, "hive: internal error, reference 1a2b\n")


def test_no_daemon_is_exit_code_3_and_says_how_to_start_one(
    hive: Any, tmp_path: pathlib.Path
) -> None:
    done = hive("list")
    assert done.code == 3
    assert f"home {tmp_path}/home" in done.err
    assert "hive up" in done.err
    assert json.loads(hive("list", "--json").err)["error"]["kind"] == "no_daemon"


def test_a_socket_that_nobody_serves_is_no_daemon(hive: Any, daemon: Any) -> None:
    daemon.close()
    (daemon.home / "run" / "admin.sock").touch()
    assert hive("list").code == 3


def test_an_answer_that_is_cut_is_unavailable(hive: Any, daemon: Any) -> None:
    daemon.cut.add("list")
    done = hive("list")
    assert done.code == 7
    assert "the daemon ended the connection" in done.err


def test_a_home_with_a_very_long_path_is_reached(hive: Any, daemon: Any) -> None:
    long = daemon.home / ("x" * 120)
    fake = type(daemon)(long)
    fake.answers["list"] = {"agents": []}
    done = hive("list", "--home", str(long))
    fake.close()
    assert (done.code, fake.asked) == (0, [("list", {})])


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["send", "coder"],
        ["approve", "five"],
        ["logs", "coder", "-n", "9999999"],
        ["list", "--what"],
        ["up", "--port", "x"],
        ["up", "--port", "99999"],
        ["model", "api-key", "magic"],
    ],
)
def test_wrong_use_is_exit_code_2(hive: Any, arguments: list[str]) -> None:
    done = hive(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("hive: ")
    error = json.loads(hive(*arguments, "--json").err)["error"]
    assert error["kind"] == "invalid"


def test_a_body_that_is_no_text_is_refused(hive: Any, daemon: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hyperhive.cli", "send", "coder", "-", "--home", daemon.home],
        input=b"\xff\xfe",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert b"UTF-8" in done.stderr
    assert daemon.asked == []


def test_hostile_text_cannot_move_the_terminal(hive: Any, daemon: Any) -> None:
    body = "\x1b]0;title\x07 \u202egnp.exe \u200b\u2066 \x9b31m\rover\ttab\nnext"
    daemon.answers["inbox"] = {
        "messages": [
            {
                "id": 1, "from": "co\x1b[31mder", "to": "operator", "body": body,
                "in_reply_to": None, "sent_at": "2026-11-23T08:15:00Z", "state": "queued",
                "redelivered": False,
            }
        ]
    }  # fmt: skip
    out = hive("inbox").out
    assert "\\x1b]0;title\\x07 \\u{202e}gnp.exe \\u{200b}\\u{2066} \\x9b31m\\x0dover    tab" in out
    assert not any(sign in out for sign in "\x1b\x07\u202e\u200b\u2066\x9b\r")
    assert "\n    next\n" in out


def test_the_help_names_every_verb_and_the_exit_codes(hive: Any) -> None:
    done = hive("--help")
    assert done.code == 0
    for word in ("up", "request-spawn", "doctor", "watch", "Exit codes", "HIVE_HOME"):
        assert word in done.out


def test_a_reader_that_leaves_is_no_error(daemon: Any) -> None:
    daemon.events["logs"] = [{"line": "x" * 1000}] * 1000
    done = subprocess.run(
        f"{sys.executable} -m hyperhive.cli logs coder --home {daemon.home} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert len(done.stdout) == 1001


def test_simple_verbs_import_nothing_heavy() -> None:
    look = (
        "import sys; from hyperhive.cli import program; "
        "code = program.run(['list', '--home', '/nonexistent']); "
        "print(code, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    code, *imported = done.stdout.split()
    assert code == "3"
    assert "hyperhive.cli.agents" in imported
    heavy = {"asyncio", "aiohttp", "mcp", "rich", "sqlite3", "structlog", "hyperhive.daemon"}
    assert heavy.isdisjoint(imported)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(hive: Any, shell: str) -> None:
    done = hive("completion", shell)
    assert done.code == 0, done.err
    assert "_HIVE_COMPLETE" in done.out


def test_agents_names_complete(hive: Any, daemon: Any) -> None:
    daemon.answers["list"] = {"agents": [{"name": "coder"}, {"name": "critic"}, {"name": "tester"}]}
    done = hive(
        env={"_HIVE_COMPLETE": "bash_complete", "COMP_WORDS": "hive watch c", "COMP_CWORD": "2"}
    )
    assert done.out.split() == ["plain,coder", "plain,critic"]


def test_names_do_not_complete_without_a_daemon(hive: Any) -> None:
    done = hive(
        env={"_HIVE_COMPLETE": "bash_complete", "COMP_WORDS": "hive watch c", "COMP_CWORD": "2"}
    )
    assert done.out.strip() == ""
    assert done.err == ""
