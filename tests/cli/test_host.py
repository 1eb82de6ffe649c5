"""What is found out about the host, and how packages are installed."""

from __future__ import annotations

import asyncio
import pathlib
import socket

import pytest

from hyperhive import ports
from hyperhive.adapters.host import facts, packages
from hyperhive.adapters.process import host
from hyperhive.adapters.process.memory import MemoryProcesses
from hyperhive.cli import provisioning
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
    # Of git its own finding says more.
    assert [finding.topic for finding in broken] == ["bubblewrap"]
    assert broken[0].remedy.endswith(" bubblewrap")


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        (b"git version 2.39.5\n", ports.Severity.OK),
        (b"git version 2.51.0.windows.1\n", ports.Severity.OK),
        (b"git version 2.39.4\n", ports.Severity.OK),
        (b"git version 2.39.3\n", ports.Severity.BROKEN),
        (b"git version 2.9.9\n", ports.Severity.BROKEN),
        (b"git version 2.40.1\n", ports.Severity.NOTICE),
        (b"git version 2.43.0\n", ports.Severity.NOTICE),
        (b"git version 2.45.0\n", ports.Severity.NOTICE),
        (b"git version 2.45.1\n", ports.Severity.OK),
        (b"git version 3.0.0\n", ports.Severity.OK),
        (b"hello\n", ports.Severity.BROKEN),
    ],
)
def test_git_must_be_new_enough(said: bytes, severity: ports.Severity) -> None:
    processes = MemoryProcesses()
    processes.answer("git", result=ports.ProcessResult(0, said, b""))
    assert asyncio.run(facts.look_at_git(processes)).severity is severity
    if severity is ports.Severity.BROKEN:
        with pytest.raises(errors.HiveError, match="apt-get install git") as caught:
            asyncio.run(facts.require_git(processes))
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    else:
        asyncio.run(facts.require_git(processes))


def test_no_start_without_git() -> None:
    finding = asyncio.run(facts.look_at_git(MemoryProcesses()))
    assert finding.severity is ports.Severity.BROKEN
    with pytest.raises(errors.HiveError, match=r"^cannot start: git .*; mend it with: sudo"):
        asyncio.run(facts.require_git(MemoryProcesses()))


def test_an_old_git_ends_a_start_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    processes = MemoryProcesses()
    processes.answer("git", result=ports.ProcessResult(0, b"git version 2.30.2\n", b""))
    monkeypatch.setattr(host, "HostProcesses", lambda: processes)
    monkeypatch.setattr(packages, "find_missing", list)
    with pytest.raises(errors.HiveError, match=r"git 2\.30\.2 is older than 2\.39\.4"):
        provisioning.ensure_host(tmp_path, [].append)
    assert [call.argv for call in processes.calls] == [("git", "--version")]


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
