"""What `hive doctor` says about this host, with a daemon and without one."""

from __future__ import annotations

from typing import Any

import pytest


def finding(topic: str, severity: str) -> dict[str, str]:
    return {"topic": topic, "severity": severity, "text": f"{topic} text", "remedy": "mend it"}


def test_with_a_daemon_its_findings_are_shown(hive: Any, daemon: Any) -> None:
    daemon.answers["model-status"] = {"kind": "api_key"}
    daemon.answers["doctor"] = {"findings": [finding("sandbox", "notice")]}
    done = hive("doctor", "--json")
    found = {row["topic"]: row for row in done.json["findings"]}
    assert found["sandbox"] == finding("sandbox", "notice")
    assert found["daemon"]["severity"] == "ok"
    assert found["credential"]["text"] == "api key"
    assert {"python", "git", "claude", "disk"} <= set(found)
    assert "port" not in found
    assert done.code == 0


def test_something_broken_is_exit_code_7_with_its_remedy(hive: Any, daemon: Any) -> None:
    daemon.answers["model-status"] = {"kind": "none"}
    daemon.answers["doctor"] = {"findings": [finding("sandbox", "broken")]}
    done = hive("doctor")
    assert done.code == 7
    [at] = [n for n, line in enumerate(done.out.splitlines()) if line.startswith("BROKEN")]
    assert "sandbox text" in done.out.splitlines()[at]
    assert done.out.splitlines()[at + 1].strip() == "-> mend it"
    assert "agents cannot think yet" in done.out


@pytest.mark.system
def test_without_a_daemon_it_looks_itself(hive: Any) -> None:
    done = hive("doctor", "--json")
    found = {row["topic"]: row for row in done.json["findings"]}
    assert {"home", "port", "credential", "sandbox", "cgroups"} <= set(found)
    broken = any(row["severity"] == "broken" for row in found.values())
    assert done.code == (7 if broken else 0)
