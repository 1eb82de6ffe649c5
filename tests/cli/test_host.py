"""What is found out about the host, and how packages are installed."""

from __future__ import annotations

import asyncio
import pathlib
import socket

import pytest

from hyperhive import ports
from hyperhive.adapters.host import facts, packages
from hyperhive.adapters.process.memory import MemoryProcesses
from hyperhive.domain import errors

OK = ports.ProcessResult(0, b"", b"")
FAILED = ports.ProcessResult(100, b"", b"W: x\nE: Unable to locate package bubblewrap\n")


def install(processes: MemoryProcesses) -> list[str]:
    said: list[str] = []
    needs = packages.NEEDS[:1]
    env = {"http_proxy": "http://proxy", "ANTHROPIC_API_KEY": "sk-secret"}
    asyncio.run(packages.install(processes, needs, said.append, env=env))
    return said


def test_packages_are_installed_without_questions() -> None:
    processes = MemoryProcesses()
    processes.answer("apt-get", result=OK)
    assert install(processes) == ["installing with apt-get: bubblewrap"]
    [call] = processes.calls
    assert call.argv[:3] == ("apt-get", "install", "--yes")
    assert call.env["DEBIAN_FRONTEND"] == "noninteractive"
    assert call.env["http_proxy"] == "http://proxy"
    assert "ANTHROPIC_API_KEY" not in call.env


def test_the_lists_are_fetched_when_a_package_is_unknown() -> None:
    processes = MemoryProcesses()
    processes.answer("apt-get", result=FAILED)
    processes.answer("apt-get", "update", result=OK)
    with pytest.raises(errors.HiveError, match="E: Unable to locate package") as caught:
        install(processes)
    assert "sudo apt-get install" in caught.value.message
    assert [call.argv[1] for call in processes.calls] == ["install", "update", "install"]


def test_missing_programs_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert packages.find_missing() == list(packages.NEEDS)
    broken = [f for f in facts.look_at_packages() if f.severity is ports.Severity.BROKEN]
    assert [finding.topic for finding in broken] == ["bubblewrap"]
    assert broken[0].remedy.endswith(" bubblewrap")


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        (b"git version 2.39.5\n", ports.Severity.OK),
        (b"git version 2.51.0.windows.1\n", ports.Severity.OK),
        (b"git version 2.39.2\n", ports.Severity.NOTICE),
        (b"hello\n", ports.Severity.NOTICE),
    ],
)
def test_git_must_be_new_enough(said: bytes, severity: ports.Severity) -> None:
    processes = MemoryProcesses()
    processes.answer("git", result=ports.ProcessResult(0, said, b""))
    assert asyncio.run(facts.look_at_git(processes)).severity is severity


def test_a_missing_git_is_a_notice_with_a_remedy() -> None:
    finding = asyncio.run(facts.look_at_git(MemoryProcesses()))
    assert (finding.severity, finding.remedy) == (
        ports.Severity.NOTICE,
        "sudo apt-get install git",
    )


def test_a_port_that_is_taken_is_broken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert facts.look_at_port("127.0.0.1", port).severity is ports.Severity.BROKEN
    assert facts.look_at_port("127.0.0.1", port).severity is ports.Severity.OK
    assert facts.look_at_port("127.0.0.1", 0).severity is ports.Severity.OK


def test_a_home_must_be_ours_alone(tmp_path: pathlib.Path) -> None:
    assert facts.look_at_home(tmp_path / "new" / "home").severity is ports.Severity.OK
    home = tmp_path / "home"
    home.mkdir(mode=0o711)
    assert facts.look_at_home(home).severity is ports.Severity.OK
    home.chmod(0o777)
    finding = facts.look_at_home(home)
    assert (finding.severity, finding.remedy) == (ports.Severity.BROKEN, f"chmod go-w {home}")


def test_disk_space_is_measured_where_the_home_will_be(tmp_path: pathlib.Path) -> None:
    finding = facts.look_at_disk(tmp_path / "not" / "yet")
    assert str(tmp_path) in finding.text
    assert "GB free" in finding.text
