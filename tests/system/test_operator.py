"""What an operator sees and does on a real hive: refused hosts, bursts of mail, pauses, uids."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.system import hive_process as hives

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

BURST = 40


@pytest.fixture(scope="module")
def hive(
    tmp_path_factory: pytest.TempPathFactory, test_cache: pathlib.Path
) -> Iterator[hives.HiveProcess]:
    """A running hive whose model plays the scripts in its mail; at its end nothing is left."""
    home = tmp_path_factory.mktemp("operator") / "home"
    with (
        hives.scripted_model() as (url, key),
        hives.hive(home, test_cache, sandbox="host") as process,
    ):
        # A proxy of the host is not asked for a model on loopback: nobody listens there.
        process.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        process.env |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
        process.start()
        yield process
    assert hives.processes_of(home) == []


def manager(hive: hives.HiveProcess) -> dict[str, Any]:
    row = hive.agent("manager")
    assert row is not None
    return row


def state_of(hive: hives.HiveProcess, message: int) -> str:
    rows = hive.call("messages", limit=1000)["messages"]
    return next(row["state"] for row in rows if row["id"] == message)


def test_a_host_that_is_not_allowed_is_shown_to_the_operator(hive: hives.HiveProcess) -> None:
    curl = "curl -sS -m 5 https://evil.example/ || curl -sS -m 5 http://evil.example:8080/; true"
    steps = script({"tool": "Bash", "input": {"command": curl}}, {"say": "tried"})
    sent = hive.call("send", to="manager", body=steps)
    hive.until("it has tried", lambda: state_of(hive, sent["id"]) == "handled")
    refused = {host["host"]: host for host in manager(hive)["refused"]["hosts"]}
    assert refused["evil.example:443"]["reason"] == "not allowed"
    assert refused["evil.example:8080"]["count"] == 1
    [listed] = hive.ask("list")["agents"]
    assert listed["refused"] == manager(hive)["refused"]


def test_all_of_a_burst_is_shown_to_who_watches_the_inbox(hive: hives.HiveProcess) -> None:
    watch = subprocess.Popen(
        [*hives.HIVE, "inbox", "--watch", "--json", "--limit", "3"],
        env=hive.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        sends = [
            {"tool": "mcp__hive__send", "input": {"to": "operator", "body": f"burst {number}"}}
            for number in range(BURST)
        ]
        hive.call("send", to="manager", body=script({"tools": sends}, {"say": "sent"}))
        assert watch.stdout is not None
        shown = [json.loads(watch.stdout.readline()) for _ in range(BURST)]
    finally:
        watch.terminate()
        watch.communicate(timeout=20)
    assert {mail["body"] for mail in shown} == {f"burst {number}" for number in range(BURST)}
    numbers = [mail["id"] for mail in shown]
    assert numbers == sorted(set(numbers))


def test_an_agent_that_waits_for_a_credential_is_told_to_try_again(hive: hives.HiveProcess) -> None:
    once = {"error": 401, "message": "who are you"}
    sent = hive.call("send", to="manager", body=script(once, {"say": "worked"}))
    hive.until("it pauses", lambda: manager(hive)["pausing"], 120)
    paused = manager(hive)
    assert (paused["turn_state"], paused["phase"]) == ("needs_login", "running")
    assert state_of(hive, sent["id"]) == "queued"
    assert hive.run("retry", "manager").stdout == "manager: tries again now\n"
    hive.until("it has worked", lambda: state_of(hive, sent["id"]) == "handled")
    # In the same sandbox: it was no restart.
    assert (manager(hive)["pid"], manager(hive)["pausing"]) == (paused["pid"], False)
    refused = hive.run("retry", "manager")
    assert (refused.returncode, refused.stdout) == (6, "")
    assert "cannot retry manager: it does not pause" in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives agents host uids")
def test_a_second_hive_has_other_uids(
    hive: hives.HiveProcess, tmp_path: pathlib.Path, test_cache: pathlib.Path
) -> None:
    def uids(process: hives.HiveProcess) -> set[int]:
        states = (process.home / "agents").glob("*/state")
        return {state.stat().st_uid // 10_000 for state in states}

    with hives.hive(tmp_path / "home", test_cache, sandbox="host") as second:
        second.start()
        second.until("its manager runs", lambda: manager(second)["phase"] == "running")
        assert len(uids(hive)) == len(uids(second)) == 1
        assert uids(hive).isdisjoint(uids(second))
    assert hives.processes_of(tmp_path / "home") == []
