"""Where sandboxes are found again, and what the host refuses before one can start."""

from __future__ import annotations

import asyncio
import os
import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.process.memory import MemoryProcesses
from hyperhive.adapters.sandbox import bubblewrap, records
from hyperhive.domain import errors, ids

AGENT = ids.AgentId("0123456789ab")


def test_a_directory_is_found_again_and_those_that_are_gone_are_dropped(
    tmp_path: pathlib.Path,
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    records.Registry(tmp_path / "runs").note(ids.AgentId("f" * 12), gone)
    gone.rmdir()
    records.Registry(tmp_path / "runs").note(AGENT, tmp_path)
    later = records.Registry(tmp_path / "runs")
    assert later.find(AGENT) == tmp_path
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == [AGENT]
    with pytest.raises(LookupError, match="never had a sandbox"):
        later.find(ids.AgentId("f" * 12))


def test_what_another_hive_removes_meanwhile_is_no_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "other").write_text(str(tmp_path))
    listed = list((tmp_path / "runs").iterdir())
    (tmp_path / "runs" / "other").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "iterdir", lambda _: iter(listed))
        records.Registry(tmp_path / "runs").note(AGENT, tmp_path)
    assert records.Registry(tmp_path / "runs").find(AGENT) == tmp_path


def test_a_directory_that_cannot_be_made_is_a_refusal_and_no_bug(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sandbox = bubblewrap.BubblewrapSandbox(
        MemoryProcesses(), ManualClock(), cache=tmp_path / "cache", view="host"
    )
    spec = ports.SandboxSpec(
        agent=AGENT, name="bob", uid=os.geteuid() or 1000, argv=("true",), env={}, cwd="/",
        binds=(), limits=ports.Limits(), log=tmp_path / "log", run_dir=tmp_path / "file" / "box",
    )  # fmt: skip
    with pytest.raises(errors.HiveError, match="cannot start the sandbox of bob: ") as caught:
        asyncio.run(sandbox.start(spec))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
