"""The directories of agents: who owns what, and what a sandbox is shown of it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import pathlib
import shutil
import stat

import pytest

from hyperhive import ports
from hyperhive.adapters.agent_home.directories import AgentHomes
from hyperhive.domain import agents, configuration, errors, ids
from hyperhive.wire import agent_protocol

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
BOB = agents.Agent(
    id=ids.AgentId("b" * 12), name=ids.AgentName("bob"), role=agents.Role.AGENT, slot=3,
    created_at=NOW, wanted=agents.Wanted.RUNNING, epoch=1, phase=agents.Phase.STARTING,
    phase_since=NOW, phase_note="", running_epoch=0, sandbox=None, crashes=0, retry_at=None,
    turn_state=agents.TurnState.OFFLINE, turn_since=NOW, turn_note="", status="", model="",
    session_id="", session_started=False, start_reason="",
)  # fmt: skip


def homes(top: pathlib.Path, uid_base: int = 870000) -> AgentHomes:
    return AgentHomes(top, claude=top / "claude", limits=ports.Limits(), uid_base=uid_base)


def mode(path: pathlib.Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def source(spec: ports.SandboxSpec, target: str) -> pathlib.Path:
    """Which directory of the host a sandbox sees as *target*."""
    (found,) = [bind for bind in spec.binds if bind.target == target]
    return found.source


def test_the_agent_owns_its_state_and_nothing_else(tmp_path):
    before = os.umask(0)
    try:
        spec = asyncio.run(homes(tmp_path).spec(BOB))
    finally:
        os.umask(before)
    own, run = tmp_path / "agents" / BOB.id, tmp_path / "run" / "agents" / BOB.id
    assert {str(path.relative_to(tmp_path)): mode(path) for path in (
        own.parent, own, own / "state", own / "log", run, run / "sock", run / "box",
    )} == {
        "agents": "0o711", f"agents/{BOB.id}": "0o711", f"agents/{BOB.id}/state": "0o700",
        f"agents/{BOB.id}/log": "0o700", f"run/agents/{BOB.id}": "0o711",
        f"run/agents/{BOB.id}/sock": "0o750", f"run/agents/{BOB.id}/box": "0o711",
    }  # fmt: skip
    expected = 870003 if os.geteuid() == 0 else os.geteuid()
    assert spec.uid == expected
    assert (own / "state").stat().st_uid == expected
    assert (own / "log").stat().st_uid == os.geteuid()
    assert (run / "sock").stat().st_uid == os.geteuid()
    if os.geteuid() == 0:
        assert (run / "sock").stat().st_gid == expected


def test_only_the_state_is_writable_inside(tmp_path):
    spec = asyncio.run(homes(tmp_path).spec(BOB))
    assert [bind.target for bind in spec.binds if bind.writable] == [
        agent_protocol.STATE_IN_SANDBOX
    ]
    assert spec.ports == (agent_protocol.GATEWAY_PORT, agent_protocol.EGRESS_PORT)
    assert spec.log == homes(tmp_path).log_file(BOB.id)


def test_every_agent_has_its_own_uid_and_directories(tmp_path):
    eve = dataclasses.replace(BOB, id=ids.AgentId("e" * 12), slot=4)
    both = homes(tmp_path)
    one, two = asyncio.run(both.spec(BOB)), asyncio.run(both.spec(eve))
    state = agent_protocol.STATE_IN_SANDBOX
    assert source(one, state) != source(two, state)
    assert (one.uid != two.uid) is (os.geteuid() == 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives agents host uids")
def test_no_uid_of_the_next_range_is_given_out(tmp_path):
    last = dataclasses.replace(BOB, slot=agents.SLOTS_MAX)
    assert asyncio.run(homes(tmp_path).spec(last)).uid == 879_999
    one_more = dataclasses.replace(BOB, slot=agents.SLOTS_MAX + 1)
    with pytest.raises(errors.HiveError, match="cannot start bob: this hive has had 9999 agents"):
        asyncio.run(homes(tmp_path).spec(one_more))


def test_asking_again_keeps_what_is_there_and_mends_what_was_loosened(tmp_path):
    first = asyncio.run(homes(tmp_path).spec(BOB))
    state = source(first, agent_protocol.STATE_IN_SANDBOX)
    (state / "notes").write_text("mine")
    state.chmod(0o777)
    again = asyncio.run(homes(tmp_path).spec(BOB))
    assert again == first
    assert (state / "notes").read_text() == "mine"
    assert mode(state) == "0o700"


def test_the_harness_is_staged_whole_readable_and_once(tmp_path):
    before = os.umask(0o077)
    try:
        staged = source(asyncio.run(homes(tmp_path).spec(BOB)), agent_protocol.HARNESS_IN_SANDBOX)
    finally:
        os.umask(before)
    files = {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()}
    assert {"hyperhive/harness/__main__.py", "hyperhive/wire/agent_protocol.py"} <= files
    # Nothing of the daemon comes with it.
    assert all(name.startswith(("hyperhive/harness/", "hyperhive/wire/", "hyperhive/__init__"))
               for name in files)  # fmt: skip
    for path in [staged, *staged.rglob("*")]:
        assert mode(path) == ("0o755" if path.is_dir() else "0o644"), path
    inode = staged.stat().st_ino
    asyncio.run(homes(tmp_path).spec(BOB))
    assert staged.stat().st_ino == inode
    assert [path.name for path in staged.parent.iterdir()] == [staged.name]


def test_a_staging_that_died_half_way_is_done_anew(tmp_path):
    one = homes(tmp_path)
    staged = source(asyncio.run(one.spec(BOB)), agent_protocol.HARNESS_IN_SANDBOX)
    shutil.rmtree(staged)
    half = staged.parent / f".{staged.name}.{os.getpid()}"
    half.mkdir()
    (half / "rubbish").write_text("")
    again = source(asyncio.run(one.spec(BOB)), agent_protocol.HARNESS_IN_SANDBOX)
    assert again == staged
    assert not half.exists()
    assert not (staged / "rubbish").exists()


def test_what_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "agents").write_text("in the way")
    with pytest.raises(errors.HiveError, match="cannot make the directories of bob") as caught:
        asyncio.run(homes(tmp_path).spec(BOB))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE


def test_a_configuration_changes_limits_and_environment_but_not_what_is_the_hives(tmp_path):
    configured = configuration.Configuration(
        environment={"TZ": "UTC", "LANG": "de_DE.UTF-8", "HOME": "/evil", "PATH": "/evil"},
        limits=configuration.Limits(memory_bytes=2**31, processes=1024),
    )
    spec = asyncio.run(homes(tmp_path).spec(BOB, configured=configured))
    plain = asyncio.run(homes(tmp_path).spec(BOB))
    assert spec.limits == ports.Limits(2**31, ports.Limits().cpus, 1024)
    assert spec.env == {**plain.env, "TZ": "UTC", "LANG": "de_DE.UTF-8"}
    assert plain.limits == ports.Limits()


def test_a_generation_lies_under_the_sandbox_and_comes_first_in_its_path(tmp_path):
    generation = ports.Generation(
        ids.GenerationId("a" * 16),
        "base",
        lowers=(tmp_path / "upper", tmp_path / "lower"),
        binds=(ports.Bind(tmp_path / "file", "/etc/tool"),),
        path=("/opt/a/bin", "/opt/b/bin"),
    )
    plain = asyncio.run(homes(tmp_path).spec(BOB))
    spec = asyncio.run(homes(tmp_path).spec(BOB, generation=generation))
    assert spec.lowers == (tmp_path / "upper", tmp_path / "lower")
    assert spec.env["PATH"] == f"/opt/a/bin:/opt/b/bin:{plain.env['PATH']}"
    assert spec.binds == (*plain.binds, ports.Bind(tmp_path / "file", "/etc/tool"))
    assert plain.lowers == ()


def test_the_manager_is_shown_the_repositories(tmp_path):
    manager = dataclasses.replace(BOB, name=ids.MANAGER_NAME, role=agents.Role.MANAGER)
    before = os.umask(0o077)
    try:
        spec = asyncio.run(homes(tmp_path).spec(manager))
    finally:
        os.umask(before)
    shown = {bind.target: bind for bind in spec.binds}
    assert shown["/agents"] == ports.Bind(tmp_path / "proposed", "/agents", writable=True)
    assert shown["/applied"] == ports.Bind(tmp_path / "export/applied", "/applied")
    assert shown["/meta"] == ports.Bind(tmp_path / "export/meta", "/meta")
    for name in ("proposed", "export", "export/applied", "export/meta"):
        assert mode(tmp_path / name) == "0o755", name
    assert {"/agents", "/applied", "/meta"}.isdisjoint(
        bind.target for bind in asyncio.run(homes(tmp_path).spec(BOB)).binds
    )


def test_every_git_is_told_who_it_is(tmp_path):
    config = source(asyncio.run(homes(tmp_path).spec(BOB)), "/etc/gitconfig")
    assert mode(config) == "0o644"
    text = config.read_text()
    assert "name = bob\n" in text
    assert "path = /applied/gitconfig\n" in text
    config.write_text("[core]\n\thooksPath = /tmp\n")
    assert source(asyncio.run(homes(tmp_path).spec(BOB)), "/etc/gitconfig").read_text() == text
