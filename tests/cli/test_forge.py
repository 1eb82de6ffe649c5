"""`hive forge`: what it prints, and that the token is never an argument."""

from __future__ import annotations

import json

ROW = {
    "name": "coder", "state": "in_step", "lag_refs": 0, "behind_since": None,
    "last_ok": "2030-01-01T00:00:00+00:00", "error": "",
}  # fmt: skip
STATUS = {
    "configured": True,
    "url": "http://127.0.0.1:3000",
    "organisation": "agent-configs",
    "repositories": [
        ROW,
        {
            **ROW, "name": "meta", "state": "error", "lag_refs": 3, "last_ok": None,
            "behind_since": "2030-01-01T00:00:00+00:00", "error": "cannot push: \x1b[31mred",
        },
    ],
}  # fmt: skip


def test_status_is_a_table_with_lag_and_reason(daemon, hive):
    daemon.answers["forge-status"] = STATUS
    done = hive("forge", "status")
    assert done.code == 0
    assert "http://127.0.0.1:3000/agent-configs" in done.out
    assert "in step" in done.out
    assert "3 refs" in done.out
    assert "never" in done.out
    assert "\x1b" not in done.out
    assert json.loads(hive("forge", "status", "--json").out) == STATUS


def test_status_without_a_forge_says_what_to_set(daemon, hive):
    daemon.answers["forge-status"] = {**STATUS, "configured": False, "repositories": []}
    assert "forge_url" in hive("forge", "status").out


def test_the_token_comes_from_standard_input_alone(daemon, hive):
    finding = {"topic": "forge", "severity": "notice", "text": "it is an admin", "remedy": "do not"}
    daemon.answers["set-forge-token"] = {"findings": [finding]}
    done = hive("forge", "set-token", stdin="  s3cr3t-token\n")
    assert done.code == 0
    assert daemon.asked == [("set-forge-token", {"token": "s3cr3t-token"})]
    assert "it is an admin" in done.out
    assert "do not" in done.out
    assert "s3cr3t" not in done.out + done.err
    assert hive("forge", "set-token", "s3cr3t-token", stdin="").code == 2
    assert hive("forge", "set-token", stdin="\n").code == 2
    assert len(daemon.asked) == 1
