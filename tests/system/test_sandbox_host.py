"""The host under the sandboxes: what is missing, what is limited, how the base root is made."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import pathlib
import shutil
import subprocess

import pytest

from hyperhive import ports
from hyperhive.adapters.process import host, memory
from hyperhive.adapters.sandbox import base_root, bubblewrap, cgroups, probe, programs
from hyperhive.domain import errors, ids
from rigs.sandbox_bench import ROOT, RealBench, SystemClock, private_home
from rigs.sandbox_stories import TALK, shows

AGENT = ids.AgentId("a11ce0000001")
LIMITS = ports.Limits(memory_bytes=512 * 1024**2, cpus=1.5, processes=99)
DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://third.example/party
Suites: nodistro
Components: main
"""


def test_a_missing_bubblewrap_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PLACES", ("/nowhere",))

    async def story(bench: RealBench) -> None:
        with pytest.raises(errors.HiveError, match="apt-get install bubblewrap") as caught:
            await bench.sandbox.start(bench.spec(TALK))
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
        broken = [f for f in await bench.sandbox.probe() if f.severity is ports.Severity.BROKEN]
        assert [f.topic for f in broken] == ["bubblewrap"]
        assert broken[0].remedy == programs.INSTALL

    with private_home() as top:
        RealBench(top, "host").tell(story)


def test_a_base_root_of_an_older_hive_gets_the_places_that_it_lacks(tmp_path: pathlib.Path) -> None:
    root = base_root.BaseRoot(memory.MemoryProcesses(), SystemClock(), tmp_path, {})
    (root.path / "etc").mkdir(parents=True)
    (root.path / "etc/hosts").write_text("kept")
    root.complete()
    assert sorted(path.name for path in (root.path / "etc").iterdir()) == sorted(base_root.PLACES)
    assert (root.path / "etc/hosts").read_text() == "kept"


def test_an_old_bubblewrap_is_refused() -> None:
    processes = memory.MemoryProcesses()
    processes.answer(result=ports.ProcessResult(0, b"bubblewrap 0.6.1\n", b""))
    with private_home() as top:
        sandbox = bubblewrap.BubblewrapSandbox(processes, SystemClock(), cache=top, view="host")
        found = {f.topic: f for f in asyncio.run(sandbox.probe())}
    assert found["bubblewrap"].severity is ports.Severity.BROKEN
    assert "older than 0.8" in found["bubblewrap"].text


@pytest.mark.parametrize(
    ("said", "sysctls", "remedy"),
    [
        ("bwrap: setting up uid map: Permission denied",
         {"kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_parser"),
        ("bwrap: No permissions", {"kernel/unprivileged_userns_clone": "0"}, "userns_clone=1"),
        ("bwrap: No space left on device", {}, "max_user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc", {}, "systempaths=unconfined"),
    ],
)  # fmt: skip
def test_each_refusal_of_user_namespaces_has_its_remedy(
    said: str, sysctls: dict[str, str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "read_sysctl", lambda name: sysctls.get(name, ""))
    assert remedy in probe.userns_remedy(said)


# --- control groups ---------------------------------------------------------------------


def _fake_v2(top: pathlib.Path, own: str = "/") -> cgroups.Cgroups:
    """A tree with the files of cgroup v2; the kernel's part, new groups' files, is not played."""
    directory = top / own.lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    for place in {top, directory}:
        (place / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (place / "cgroup.subtree_control").write_text("cpu\n")
        (place / "cgroup.procs").write_text("")
    (top / "own").write_text(f"0::{own}\n")
    return cgroups.Cgroups(top, top / "own")


def test_v2_is_seen_by_its_controllers_and_limits_are_written(tmp_path: pathlib.Path) -> None:
    groups = _fake_v2(tmp_path)
    assert groups.kind is cgroups.Kind.V2
    assert groups.controllers == {"memory", "pids", "cpu"}
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"
    directory = tmp_path / "hyperhive" / AGENT
    directory.mkdir(parents=True)
    (tmp_path / "hyperhive/cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "hyperhive/cgroup.subtree_control").write_text("")
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max"):
        (directory / name).write_text("max")
    assert groups.create(AGENT, LIMITS) == (directory,)
    assert (tmp_path / "hyperhive/cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (directory / "memory.max").read_text() == str(LIMITS.memory_bytes)
    assert (directory / "memory.swap.max").read_text() == "0"
    assert (directory / "pids.max").read_text() == "99"
    assert (directory / "cpu.max").read_text() == "150000 100000"


def test_v2_counters_are_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pids.current").write_text("3\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 300\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 2\n")
    assert cgroups.usage([tmp_path]) == cgroups.Usage(3, 700, 2.5)
    assert cgroups.memory_kills([tmp_path]) == 2


def test_where_nothing_is_writable_there_are_no_limits(tmp_path: pathlib.Path) -> None:
    (tmp_path / "own").write_text("0::/\n")
    groups = cgroups.Cgroups(tmp_path, tmp_path / "own")
    assert groups.kind is cgroups.Kind.NONE
    assert groups.create(AGENT, LIMITS) == ()
    assert cgroups.usage(()) == cgroups.Usage(None, None, None)


def _make_group(parent: pathlib.Path, name: str, made: datetime.datetime) -> pathlib.Path:
    group = parent / name
    group.mkdir(parents=True)
    os.utime(group, (made.timestamp(), made.timestamp()))
    return group


def test_only_empty_groups_of_agents_that_are_old_are_swept(tmp_path: pathlib.Path) -> None:
    groups = _fake_v2(tmp_path)
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    old, parent = now - datetime.timedelta(minutes=11), tmp_path / "hyperhive"
    left = _make_group(parent, "a11ce0000001", old)
    kept = [
        _make_group(parent, "a11ce0000002", now - datetime.timedelta(minutes=9)),
        _make_group(parent, "one-shot-1-1", old),
        _make_group(parent, "somebody.service", old),
        _make_group(tmp_path, "a11ce0000003", old),
        _make_group(parent, "a11ce0000004", old),
    ]
    (kept[-1] / "cgroup.procs").write_text("17\n")
    os.utime(kept[-1], (old.timestamp(), old.timestamp()))
    groups.sweep(now)
    assert not left.exists()
    assert [group.name for group in kept if not group.is_dir()] == []


@pytest.mark.system
@pytest.mark.skipif(not ROOT, reason="only root makes groups here")
def test_a_real_group_that_was_left_goes_and_one_with_members_stays() -> None:
    limits = cgroups.Cgroups()
    # Apart from the groups of hives that run on this host now.
    own = {
        name: path.with_name(f"hyperhive-{os.getpid()}") for name, path in limits.parents.items()
    }
    limits.parents = own
    empty, lived_in = ids.AgentId("a11ce0000011"), ids.AgentId("a11ce0000012")
    later = SystemClock().now() + datetime.timedelta(minutes=11)
    limits.create(empty, LIMITS)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        for directory in limits.create(lived_in, LIMITS):
            (directory / "cgroup.procs").write_text(str(sleeper.pid))
        limits.sweep(SystemClock().now())
        assert limits.existing(empty)
        limits.sweep(later)
        assert limits.existing(empty) == ()
        assert limits.existing(lived_in)
    finally:
        sleeper.kill()
        sleeper.wait()
    limits.sweep(later)
    assert limits.existing(lived_in) == ()
    assert cgroups.remove(list(own.values())) == []


@pytest.mark.system
@pytest.mark.skipif(not ROOT, reason="memory can be limited by root, or in a delegated unit, only")
def test_a_memory_hog_is_killed_and_said_to_be_one() -> None:
    hog = "import time\nprint('on', flush=True)\nx = bytearray(600 * 1024**2)\ntime.sleep(600)"

    async def story(bench: RealBench) -> None:
        if "memory" not in cgroups.Cgroups().controllers:
            pytest.fail("root cannot limit memory here: mount the control groups writable")
        spec = bench.spec(("sh", "-c", f"python3 -c '{hog.replace(chr(39), chr(34))}'; exit 5"))
        started = await bench.sandbox.start(spec)
        await shows(spec.log, "on")
        end = await bench.sandbox.wait(spec.agent, started.identity)
        # The hog dies, its shell goes on: the limit is not the end of the agent.
        assert end.code == 5, spec.log.read_text()
        assert "out-of-memory" in end.reason

    with private_home() as top:
        RealBench(top, "host").tell(story)


@pytest.mark.system
@pytest.mark.skipif(not ROOT, reason="only root makes groups here")
def test_no_group_is_left_behind() -> None:
    async def story(bench: RealBench) -> None:
        spec = bench.spec(TALK)
        started = await bench.sandbox.start(spec)
        assert cgroups.Cgroups().existing(spec.agent)
        await bench.sandbox.stop(spec.agent, started.identity, 5)
        assert cgroups.Cgroups().existing(spec.agent) == ()

    with private_home() as top:
        RealBench(top, "host").tell(story)


# --- the base root ----------------------------------------------------------------------


def _host_etc(top: pathlib.Path) -> pathlib.Path:
    etc = top / "etc"
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "os-release").write_text('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n')
    (etc / "apt/sources.list.d/debian.sources").write_text(DEB822)
    return etc


def _base(processes: ports.Processes, top: pathlib.Path) -> base_root.BaseRoot:
    return base_root.BaseRoot(processes, SystemClock(), top / "cache", {}, _host_etc(top))


def _mmdebstrap(call: memory.Call, code: int = 0) -> ports.ProcessResult:
    """Play the build: the target is the second last argument, the sources the last."""
    target, sources = call.argv[-2:]
    assert "mirror.example" in pathlib.Path(sources).read_text()
    assert "third.example" not in pathlib.Path(sources).read_text()
    assert call.argv[-3] == "bookworm"
    pathlib.Path(target).mkdir()
    return ports.ProcessResult(code, b"", b"I: downloading packages with apt...\nE: no route\n")


def _processes(code: int = 0) -> memory.MemoryProcesses:
    processes = memory.MemoryProcesses()
    processes.answer(
        "apt-config", result=ports.ProcessResult(0, b'Acquire::http::Proxy "x";\n', b"")
    )
    processes.answer("rm", result=lambda call: _remove(call.argv[-1]))
    processes.answer("mkdir", result=lambda call: _make(call.argv[-1]))
    processes.answer("tar", result=ports.ProcessResult(0, b"", b""))
    # It is started by way of programs that tie it to us.
    processes.answer("setpriv", result=lambda call: _mmdebstrap(call, code))
    return processes


def _remove(path: str) -> ports.ProcessResult:
    shutil.rmtree(path, ignore_errors=True)
    return ports.ProcessResult(0, b"", b"")


def _make(path: str) -> ports.ProcessResult:
    pathlib.Path(path).mkdir()
    return ports.ProcessResult(0, b"", b"")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that mmdebstrap is installed and that we are root."""
    monkeypatch.setattr(base_root.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(base_root.os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("tools")
def test_the_base_is_built_once_from_the_hosts_own_sources(tmp_path: pathlib.Path) -> None:
    processes, lines = _processes(), list[str]()
    base = _base(processes, tmp_path)
    assert not base.is_built()
    asyncio.run(base.build(lines.append))
    assert base.is_built()
    assert any("downloading" in line for line in lines)
    command = next(call for call in processes.calls if "mmdebstrap" in call.argv)
    assert '--aptopt=Acquire::http::Proxy "x"' in command.argv
    count = len(processes.calls)
    asyncio.run(base.build(lines.append))
    assert len(processes.calls) == count


@pytest.mark.usefixtures("tools")
def test_a_failed_build_leaves_nothing_and_says_why(tmp_path: pathlib.Path) -> None:
    base = _base(_processes(code=1), tmp_path)
    with pytest.raises(errors.HiveError, match="E: no route") as caught:
        asyncio.run(base.build(lambda line: None))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    assert not base.is_built()
    left = [path for path in base.path.parent.iterdir() if path.suffix != ".lock"]
    assert left == []


@pytest.mark.usefixtures("tools")
def test_what_an_interrupted_build_left_is_removed(tmp_path: pathlib.Path) -> None:
    base = _base(_processes(), tmp_path)
    half = base.path.with_suffix(".tmp")
    half.mkdir(parents=True)
    (half / "half").touch()
    asyncio.run(base.build(lambda line: None))
    assert base.is_built()
    assert not (base.path / "half").exists()


def test_another_distribution_gets_the_view_of_the_host(tmp_path: pathlib.Path) -> None:
    etc = _host_etc(tmp_path)
    (etc / "os-release").write_text('ID=fedora\nPRETTY_NAME="Fedora 40"\n')
    base = base_root.BaseRoot(_processes(), SystemClock(), tmp_path, {}, etc)
    assert "Fedora 40 is not Debian or Ubuntu" in base.obstacle()


@pytest.mark.parametrize(("view", "refused"), [("auto", False), ("base", True)])
def test_without_a_base_auto_says_so_and_base_refuses(
    view: str, refused: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_root.shutil, "which", lambda name: None)
    lines: list[str] = []
    sandbox = bubblewrap.BubblewrapSandbox(
        host.HostProcesses(), SystemClock(), cache=tmp_path, view=view
    )
    if refused:
        with pytest.raises(errors.HiveError, match="apt-get install mmdebstrap"):
            asyncio.run(sandbox.prepare(lines.append))
    else:
        asyncio.run(sandbox.prepare(lines.append))
        assert len(lines) == 1
        assert "read-only view of this host's /usr instead" in lines[0]


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_agents_run_on_a_real_base_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build it (once per HIVE_TEST_CACHE), and use it: its tools, its mount points, its layer."""
    cache = pathlib.Path(os.environ.get("HIVE_TEST_CACHE") or tmp_path_factory.mktemp("cache"))
    script = """set -e
cat /etc/debian_version; id -un
for tool in git python3 node rg jq curl cc less ps; do command -v $tool; done
ls -d /state /opt/hive /agents /applied /meta /run/hive
ls /root /home/* 2>/dev/null || echo hidden
if touch /usr/local/bin/mine 2>/dev/null; then echo layer; else echo no layer; fi
! touch /usr/bin/mine 2>/dev/null
python3 -c 'print(6 * 7)'; echo all done
"""

    async def story(bench: RealBench) -> None:
        await bench.sandbox.prepare(print)
        (bench.top / "hive").mkdir(mode=0o755)
        spec = bench.spec(("bash", "-c", script))
        bind = ports.Bind(bench.top / "hive", "/run/hive")
        spec = dataclasses.replace(spec, binds=(*spec.binds, bind))
        for _ in range(2):
            started = await bench.sandbox.start(spec)
            end = await bench.sandbox.wait(spec.agent, started.identity)
            said = spec.log.read_text()
            assert end.code == 0, said
            assert "all done" in said
        view = await bench.sandbox.root_view(bench.top / "run")
        assert view.base is not None
        assert ("\nlayer\n" in said) is view.overlay

    with private_home() as top:
        RealBench(top, "base", cache).tell(story)


@pytest.mark.system
def test_the_real_claude_runs_under_the_filter(claude_binary: str) -> None:
    """Its version, and a start of a real turn, which ends at a gateway that is not there."""
    script = (
        "/opt/claude --version && "
        "IS_SANDBOX=1 ANTHROPIC_API_KEY=x ANTHROPIC_BASE_URL=http://127.0.0.1:3128 "
        "CLAUDE_CODE_MAX_RETRIES=0 timeout 60 /opt/claude -p hello; echo ended $?"
    )

    async def story(bench: RealBench) -> None:
        spec = bench.spec(("bash", "-c", script))
        spec = dataclasses.replace(
            spec,
            binds=(*spec.binds, ports.Bind(pathlib.Path(claude_binary).resolve(), "/opt/claude")),
            limits=ports.Limits(memory_bytes=2 * 1024**3, processes=256),
        )
        started = await bench.sandbox.start(spec)
        end = await bench.sandbox.wait(spec.agent, started.identity)
        said = spec.log.read_text()
        assert end.code == 0, said
        assert "(Claude Code)" in said
        assert "ended 1" in said, said
        assert "API Error" in said or "onnect" in said, said

    with private_home() as top:
        RealBench(top, "host").tell(story)
