"""Layers for real: packages of the real archives, in throw-away sandboxes, seen by agents."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.adapters.builder import bench as step_bench
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import bubblewrap
from hyperhive.domain import configuration, errors
from rigs import builder_stories as stories
from rigs.layers_bench import LayersBench, find_base
from rigs.sandbox_bench import ROOT, RealBench, SystemClock, private_home

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EVERYTHING = configuration.Packages(apt=("tree",), npm=("left-pad", "cowsay"), pip=("six",))
FILES = {"/opt/notes/motd": "motd", "/usr/local/bin/greet": "motd"}
LOOK = """
set -e
tree --version
python3 -c 'import six; print("six", six.__version__)'
cowsay moo
cd /opt/hive-npm && node -e 'console.log(require("left-pad")(1, 3))'
cat /opt/notes/motd
stat -c '%a %n' /usr/local/bin/greet
touch /opt/notes/x 2>/dev/null && echo "could write"
grep -E ' / ' /proc/self/mounts | head -1
find / -xdev -perm /6000 -type f 2>/dev/null || true
echo "looked"
"""


@pytest.fixture
def base() -> pathlib.Path:
    try:
        return find_base()
    except LookupError as error:
        pytest.fail(str(error))


@pytest.fixture
def bench(base: pathlib.Path) -> Any:
    with private_home() as top:
        yield LayersBench(top, base)


def tell(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def look_inside(
    top: pathlib.Path, generation: ports.Generation, *, view: str, overlay: bool = True
) -> str:
    """Start an agent on a generation and return what it sees."""
    hive = RealBench(top, view, cache=pathlib.Path(os.environ["HIVE_TEST_CACHE"]))
    sandbox = bubblewrap.BubblewrapSandbox(
        host.HostProcesses(), SystemClock(), cache=hive.cache, view=view
    )
    spec = hive.spec(("sh", "-c", LOOK))
    if not overlay:
        sandbox._overlays[spec.run_dir.parent.stat().st_dev] = False  # pyright: ignore[reportPrivateUsage]
        sandbox._merged = top / "merged"  # pyright: ignore[reportPrivateUsage]
    path = ":".join([*generation.path, "/usr/local/bin:/usr/bin:/bin"])
    spec = dataclasses.replace(
        spec,
        lowers=generation.lowers,
        binds=(*spec.binds, *generation.binds),
        env={**spec.env, "PATH": path},
    )
    started = await sandbox.start(spec)
    end = await sandbox.wait(spec.agent, started.identity)
    said = spec.log.read_text()
    assert end.code == 0, said
    return said


def check_sight(said: str) -> None:
    assert "tree v2" in said and "six 1." in said and "moo" in said
    assert "\n  1\n" in said and "be kind\n" in said
    assert "755 /usr/local/bin/greet" in said
    assert "could write" not in said
    assert said.endswith("looked\n")
    mount = next(line for line in said.splitlines() if " / " in line)
    assert "nosuid" in mount
    after = said[said.index(mount) + len(mount) :]
    assert after.split() == ["looked"], "a file with raised rights"


@pytest.mark.timeout(400)
def test_what_was_built_is_there_for_the_agent(bench: LayersBench) -> None:
    """All four kinds, run by an agent; the second agent with the same wishes costs nothing."""

    async def story() -> None:
        made = await bench.build(EVERYTHING, files=FILES)
        assert {"apt", "npm", "pip"} <= set(made.lock)
        assert made.lock["apt"].keys() == {"tree"}  # pyright: ignore[reportAttributeAccessIssue]
        check_sight(await look_inside(bench.top, made, view="base"))
        ran = len(bench.one_shots.orders)
        again = await bench.build(EVERYTHING, stories.BOB, files=FILES)
        locked = await bench.build(EVERYTHING, stories.BOB, files=FILES, lock=made.lock)
        assert again == locked == made
        assert len(bench.one_shots.orders) == ran
        kept = await bench.builder.collect({made.id})
        assert kept == 0
        assert await bench.builder.find(made.id) == made
        (bench.top / "elsewhere").mkdir()
        check_sight(await look_inside(bench.top / "elsewhere", made, view="base", overlay=False))
        assert bench.left() == []

    tell(story())


def test_the_view_of_the_host_gets_binds_and_no_apt() -> None:
    async def story(top: pathlib.Path) -> None:
        bench = LayersBench(top, None)
        only = configuration.Packages(npm=("cowsay",), pip=("six",))
        made = await bench.build(only, files={"/opt/notes/motd": "motd"})
        assert made.lowers == ()
        assert [bind.target for bind in made.binds] == [
            "/opt/hive-npm", "/opt/hive-pip", "/opt/notes/motd",
        ]  # fmt: skip
        refused = bench.build(configuration.Packages(apt=("tree",)))
        said = await stories.refused(refused, errors.ErrorKind.INVALID)
        assert "HIVE_SANDBOX" in said
        hive = RealBench(top, "host")
        path = ":".join([*made.path, "/usr/bin:/bin"])
        script = "cowsay moo && python3 -c 'import six; print(six.__version__)' && cat /opt/*/motd"
        spec = hive.spec(("sh", "-c", script))
        spec = dataclasses.replace(
            spec, binds=(*spec.binds, *made.binds), env={**spec.env, "PATH": path}
        )
        started = await hive.sandbox.start(spec)
        end = await hive.sandbox.wait(spec.agent, started.identity)
        said = spec.log.read_text()
        assert end.code == 0, said
        assert "moo" in said and "\n1." in said and said.endswith("be kind\n")
        wrong = dataclasses.replace(spec, lowers=(top / "layers",))
        await stories.refused(hive.sandbox.start(wrong), errors.ErrorKind.UNAVAILABLE)

    with private_home() as top:
        tell(story(top))


def test_a_lock_decides_until_newer_versions_are_wanted(bench: LayersBench) -> None:
    async def story() -> None:
        old = {"pip": {"six": "1.16.0"}, "npm": {"left-pad": "1.2.0"}}
        made = await bench.build(configuration.Packages(pip=("six",)), lock=old)
        assert made.lock == {"pip": {"six": "1.16.0"}}
        newer = await bench.build(configuration.Packages(pip=("six",)), lock=old, fresh=True)
        assert newer.lock["pip"] != {"six": "1.16.0"}
        exact = configuration.Packages(npm=("left-pad@1.2.0",))
        made = await bench.build(exact)
        assert made.lock["npm"] == {"left-pad": "1.2.0"}
        assert (await bench.build(exact, lock=made.lock)).lock == made.lock

    tell(story())


def test_a_package_that_is_missing_leaves_nothing(bench: LayersBench) -> None:
    async def story() -> None:
        for packages in (
            configuration.Packages(pip=("no-such-package-of-anybody",)),
            configuration.Packages(npm=("no-such-package-of-anybody",)),
        ):
            said = await stories.refused(bench.build(packages), errors.ErrorKind.INVALID)
            assert said.startswith("cannot build alice: ")
        assert bench.left() == []
        assert await bench.builder.collect(()) == 0

    tell(story())


def test_cancelling_leaves_nothing(bench: LayersBench) -> None:
    async def story() -> None:
        began = asyncio.Event()

        def hear(line: str) -> None:
            if "Collecting" in line:
                began.set()

        packages = configuration.Packages(pip=("numpy",))
        work = bench.builder.build(stories.order(bench, packages), hear)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            await stories.until(began)
            assert bench.left() != []
            task.cancel()
        assert bench.left() == []
        assert list((bench.top / "one-shots").iterdir()) == []
        assert await bench.builder.collect(()) == 0

    tell(story())


def test_a_killed_daemon_leaves_only_what_is_swept() -> None:
    with private_home() as top:
        program = [sys.executable, "-m", "rigs.layers_bench", str(top)]
        env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])}
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=env) as daemon:
            assert daemon.stdout is not None
            for line in daemon.stdout:
                if "Collecting" in line:
                    break
            daemon.send_signal(signal.SIGKILL)
        bench = LayersBench(top, None)
        assert len(bench.left()) == 1

        async def story() -> None:
            async with asyncio.timeout(10):
                while working_in(top):
                    await asyncio.sleep(0.01)
            await bench.build(stories.NOTHING)
            assert bench.left() == []
            await bench.one_shots.run(ports.OneShot(("true",), {}))
            assert list((top / "one-shots").iterdir()) == []

        tell(story())


def working_in(top: pathlib.Path) -> list[int]:
    """The processes that have a mount of something below *top*."""
    found: list[int] = []
    for place in pathlib.Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if str(top) in (place / "mountinfo").read_text():
                    found.append(int(place.name))
            except OSError:
                continue
    return found


def test_two_builds_of_one_layer_are_one(bench: LayersBench) -> None:
    async def story() -> None:
        packages = configuration.Packages(pip=("six",))
        async with asyncio.TaskGroup() as group:
            builds = [
                group.create_task(bench.build(packages, agent))
                for agent in (stories.ALICE, stories.BOB)
            ]
        assert builds[0].result() == builds[1].result()
        assert len(bench.one_shots.orders) == 1

    tell(story())


def test_a_build_that_fills_the_disk_is_ended(
    bench: LayersBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_bench, "OUTPUT_MAX", 4 * 1024**2)
    monkeypatch.setattr(step_bench, "_LOOK", 0.1)

    async def story() -> None:
        work = bench.build(configuration.Packages(pip=("numpy",)))
        said = await stories.refused(work, errors.ErrorKind.INVALID)
        assert "File too large" in said or "on disk" in said, said
        assert bench.left() == []

    tell(story())


def test_the_probe_tries_a_layer(bench: LayersBench) -> None:
    async def story() -> None:
        found = {finding.topic: finding for finding in await bench.builder.probe()}
        assert found["builder"].severity is ports.Severity.OK
        assert found["pip"].severity is ports.Severity.OK
        bench.base = None
        found = {finding.topic: finding for finding in await bench.builder.probe()}
        assert found["builder"].severity is ports.Severity.NOTICE
        assert "apt packages cannot" in found["builder"].text

    tell(story())


@pytest.mark.skipif(not ROOT, reason="only root has ranges of uids")
def test_an_installer_is_root_of_nothing_outside(bench: LayersBench) -> None:
    """A hostile maintainer script: no host file, no device, no mount, no raised rights."""

    async def story() -> None:
        script = """
        test "$(id -u)" = 0
        chown 33:33 /opt
        mknod /opt/disk b 8 0 2>/dev/null && echo "made a device"
        mount -t tmpfs none /mnt 2>/dev/null && echo "mounted"
        unshare --user true 2>/dev/null && echo "made a namespace"
        cat /proc/1/environ 2>/dev/null && echo "saw pid 1"
        cp /bin/sh /opt/sh && chmod 6755 /opt/sh
        grep -E '^ *0 ' /proc/self/uid_map
        """
        assert bench.base is not None
        upper = bench.top / "try" / "root"
        upper.parent.mkdir()
        order = ports.OneShot(
            ("/bin/sh", "-c", script), {}, lowers=(bench.base,), upper=upper, as_root=True
        )
        result = await bench.one_shots.run(order)
        said = result.stdout.decode().split()
        assert len(said) == 3 and said[2] == "65536" and int(said[1]) > 1_000_000
        assert (upper / "opt").stat().st_uid == 33
        assert (bench.base / "opt").stat().st_uid == 0
        assert [path.name for path in upper.parent.iterdir()] == ["root"]

    tell(story())
