"""`hive config check` anywhere, and `hive secret` without a value ever on a command line."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest

SECRET = {
    "name": "git-token",
    "set_at": "2026-11-23T08:15:00.123Z",
    "used_by": [
        {"agent": "coder", "variable": "TOKEN", "mcp_server": None},
        {"agent": "coder", "variable": "T", "mcp_server": "clock"},
    ],
}


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory as the manager would commit it."""
    root = tmp_path / "config"
    (root / "prompts").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"\0")
    (root / "agent.toml").write_text('prompt = "prompts/coder.md"\npackages.apt = ["jq"]\n')
    (root / "prompts" / "coder.md").write_text("Be brief.\n")
    (root / "link").symlink_to("/etc/passwd")
    return root


def test_a_directory_is_checked_with_its_files_and_no_daemon(
    hive: Any, repository: pathlib.Path
) -> None:
    done = hive("config", "check", str(repository))
    assert (done.code, done.out, done.err) == (0, "ok: this configuration can be used\n", "")
    said = hive("config", "check", str(repository), "--json").json
    assert (said["ok"], said["problems"], said["warnings"]) == (True, [], [])
    assert said["configuration"]["prompt_text"] == "Be brief.\n"
    assert said["configuration"]["packages"]["apt"] == ["jq"]


def test_all_that_is_wrong_is_listed_and_the_code_says_so(
    hive: Any, repository: pathlib.Path
) -> None:
    (repository / "agent.toml").write_text(
        'modle = "x"\nprompt = "missing.md"\n[mcp_servers.hive]\ncommand = "x"\n'
    )
    done = hive("config", "check", str(repository))
    assert done.code == 2
    first, warning, count = done.out.splitlines()
    assert first.startswith("agent.toml:1: modle: unknown key; allowed: ")
    assert warning.startswith("warning: agent.toml:3: mcp_servers.hive: left out")
    assert count == "1 problem"
    done = hive("config", "check", "--json", str(repository))
    assert done.code == 2
    assert done.json["configuration"] is None
    assert done.json["problems"][0] | {"text": ""} == {
        "file": "agent.toml", "line": 1, "key": "modle", "found": "", "text": "",
    }  # fmt: skip


def test_a_file_is_checked_alone(hive: Any, repository: pathlib.Path) -> None:
    (repository / "prompts" / "coder.md").unlink()
    assert hive("config", "check", str(repository / "agent.toml")).code == 0
    done = hive("config", "check", str(repository))
    assert done.code == 2
    assert 'agent.toml:1: prompt = "prompts/coder.md": no such file' in done.out


def test_what_is_no_configuration_is_refused(hive: Any, tmp_path: pathlib.Path) -> None:
    done = hive("config", "check", str(tmp_path))
    assert done.code == 2
    assert "agent.toml: the file is missing" in done.out
    assert hive("config", "check", str(tmp_path / "nothing")).code == 2
    os.mkfifo(tmp_path / "pipe")
    done = hive("config", "check", str(tmp_path / "pipe"))
    assert done.code == 2
    assert "no regular file" in done.err


def test_completion_knows_the_verbs_below_and_the_names_of_secrets(hive: Any, daemon: Any) -> None:
    daemon.answers["secrets"] = {"secrets": [SECRET]}

    def complete(words: str) -> str:
        env = {"_HIVE_COMPLETE": "bash_complete", "COMP_WORDS": words,
               "COMP_CWORD": str(words.count(" "))}  # fmt: skip
        return hive(env=env).out

    assert "plain,check" in complete("hive config ")
    assert set(complete("hive secret ").split()) == {"plain,set", "plain,list", "plain,delete"}
    assert complete("hive secret delete gi").split() == ["plain,git-token"]


def test_a_secret_is_read_from_standard_input_only(hive: Any, daemon: Any) -> None:
    daemon.answers["set-secret"] = SECRET
    done = hive("secret", "set", "git-token", stdin="line 1\nline 2\n")
    assert daemon.asked == [("set-secret", {"name": "git-token", "value": "line 1\nline 2"})]
    assert done.out == "secret git-token set; used by coder\n"
    assert hive("secret", "set", "git-token", "value").code == 2
    assert hive("secret", "set", "git-token", stdin="\n").code == 2
    assert len(daemon.asked) == 1


def test_secrets_are_listed_with_who_uses_them(hive: Any, daemon: Any) -> None:
    missing = {"name": "away", "set_at": None, "used_by": []}
    daemon.answers["secrets"] = {"secrets": [missing, SECRET]}
    done = hive("secret", "list")
    head, first, second = done.out.splitlines()
    assert head.split() == ["NAME", "SET", "USED", "BY"]
    assert first.split() == ["away", "missing", "-"]
    assert second.endswith("coder: TOKEN, coder: T (clock)")
    assert json.loads(hive("secret", "list", "--json").out) == daemon.answers["secrets"]
    daemon.answers["delete-secret"] = SECRET
    assert hive("secret", "delete", "git-token").out == "secret git-token deleted\n"
