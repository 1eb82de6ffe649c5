"""The profile goes where it is needed, and nowhere else."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.host import apparmor
from hyperhive.adapters.process.memory import MemoryProcesses
from hyperhive.domain import errors


def _result(code: int, stderr: bytes = b"") -> ports.ProcessResult:
    return ports.ProcessResult(code, b"", stderr)


def _host(tmp_path: pathlib.Path, sysctl: str | None) -> pathlib.Path:
    (tmp_path / "etc/apparmor.d").mkdir(parents=True)
    if sysctl is not None:
        file = tmp_path / apparmor.SYSCTL
        file.parent.mkdir(parents=True)
        file.write_text(sysctl + "\n")
    return tmp_path


def _allow(processes: MemoryProcesses, root: pathlib.Path) -> list[str]:
    said: list[str] = []
    asyncio.run(apparmor.allow_bubblewrap(processes, said.append, root))
    return said


@pytest.mark.parametrize("sysctl", [None, "0"])
def test_a_host_without_the_restriction_is_left_alone(tmp_path, sysctl):
    root = _host(tmp_path, sysctl)
    assert _allow(MemoryProcesses(), root) == []
    assert not (root / apparmor.PROFILE_FILE).exists()


def test_a_host_whose_bubblewrap_works_already_is_left_alone(tmp_path):
    root = _host(tmp_path, "1")
    processes = MemoryProcesses()
    processes.answer("setpriv", result=_result(0))
    assert _allow(processes, root) == []
    assert not (root / apparmor.PROFILE_FILE).exists()


def test_the_profile_is_written_and_loaded(tmp_path):
    root = _host(tmp_path, "1")
    processes = MemoryProcesses()
    processes.answer("setpriv", result=_result(1))
    processes.answer("apparmor_parser", result=_result(0))
    assert "installing a profile" in _allow(processes, root)[0]
    assert "profile hyperhive-bwrap /usr/bin/bwrap" in (root / apparmor.PROFILE_FILE).read_text()


def test_a_refusal_of_apparmor_says_what_it_said(tmp_path):
    root = _host(tmp_path, "1")
    processes = MemoryProcesses()
    processes.answer("setpriv", result=_result(1))
    processes.answer("apparmor_parser", result=_result(1, b"syntax error"))
    with pytest.raises(errors.HiveError, match="apparmor_parser said: syntax error"):
        _allow(processes, root)
