"""What a real sandbox must withstand, as stories that need no pytest (see `sandbox_bench`)."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from hyperhive import ports
from hyperhive.domain import agents, errors, ids
from rigs.sandbox_bench import AGENT_UID, ROOT, RealBench
from rigs.sandbox_stories import shows

INSIDE = pathlib.Path(__file__).with_name("sandbox_inside.py")
# Everything that a payload can do to be forgotten: own session, double fork, deaf ears.
DETACH = """
trap '' TERM HUP
deaf='trap "" TERM HUP; echo up; while :; do sleep {mark}; done'
export deaf
for i in 1 2 3; do
  ( setsid sh -c '(setsid nohup sh -c "$deaf" &)' & )
done
"""


def survivors(mark: str) -> list[int]:
    """Return the pids of all processes of this host whose command line holds *mark*."""
    found: list[int] = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


async def up(log: pathlib.Path, times: int) -> None:
    """Return once *times* detached processes have said so."""
    async with asyncio.timeout(20):
        while not log.exists() or log.read_text().count("up") < times:
            await asyncio.sleep(0.01)


async def nothing_survives_stop_or_kill(bench: RealBench) -> None:
    for number, end in enumerate(("stop", "kill")):
        mark = f"60{number}.{os.getpid()}"
        script = DETACH.format(mark=mark) + f"sleep {mark}"
        spec = dataclasses.replace(bench.spec(("sh", "-c", script)), log=bench.top / f"log{end}")
        started = await bench.sandbox.start(spec)
        await up(spec.log, 3)
        assert len(survivors(mark)) >= 7
        if end == "stop":
            await bench.sandbox.stop(spec.agent, started.identity, 0.2)
        else:
            await bench.sandbox.kill(spec.agent, started.identity)
        assert survivors(mark) == []
        assert not await bench.sandbox.is_running(spec.agent, started.identity)


async def what_a_payload_leaves_behind_is_ended(bench: RealBench) -> None:
    mark = f"603.{os.getpid()}"
    script = DETACH.format(mark=mark) + "sleep 0.3; exit 3"
    spec = bench.spec(("sh", "-c", script))
    started = await bench.sandbox.start(spec)
    await up(spec.log, 3)
    assert (await bench.sandbox.wait(spec.agent, started.identity)).code == 3
    assert survivors(mark) == []


async def outlives_a_starter_that_is_killed(bench: RealBench) -> None:
    script = "i=0; while [ ! -e /state/go ]; do i=$((i+1)); echo tick $i; sleep 0.05; done; exit 42"
    spec = dataclasses.replace(bench.spec(("sh", "-c", script)), ports=(3128,))
    identity = start_and_die(bench, spec)
    size = spec.log.stat().st_size
    async with asyncio.timeout(10):
        while spec.log.stat().st_size <= size:
            await asyncio.sleep(0.02)
    assert await bench.sandbox.is_running(spec.agent, identity)
    assert await bench.sandbox.find_left(spec.agent, spec.run_dir) == identity
    (await bench.sandbox.open_port(spec.agent, identity, 3128)).close()
    answer = await bench.sandbox.exec(spec.agent, identity, ["sh", "-c", "echo in; touch go"])
    assert answer.stdout == b"in\n", answer
    assert (await bench.sandbox.wait(spec.agent, identity)).code == 42
    assert (await bench.restart().wait(spec.agent, identity)).code == 42


def start_and_die(
    bench: RealBench, spec: ports.SandboxSpec, after: float | None = None
) -> agents.SandboxIdentity:
    """Have another process start a sandbox and be killed, *after* seconds or when it has."""
    code = (
        "import asyncio, dataclasses, pathlib, sys\n"
        "from rigs.sandbox_bench import RealBench\n"
        "class Bench(RealBench):\n"
        "    def make_state(self, name, uid=0): return self.top / name\n"
        "bench = Bench(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        "bench.agent = sys.argv[4]\n"
        "spec = bench.spec(('sh', '-c', sys.argv[3]))\n"
        "print('starting', flush=True)\n"
        "started = asyncio.run(bench.sandbox.start(dataclasses.replace(spec, ports=(3128,))))\n"
        "i = started.identity\n"
        "print(i.boot_id, i.pid, i.start_time, flush=True)\n"
        "sys.stdin.read()\n"
    )
    python = [sys.executable, "-S"] if not ROOT else [sys.executable]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    starter = subprocess.Popen(
        [*python, "-c", code, str(bench.top), bench.view, spec.argv[2], spec.agent],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "starting\n"
        words: list[str] = []
        if after is None:
            words = starter.stdout.readline().split()
        else:
            time.sleep(after)
        starter.send_signal(signal.SIGKILL)
    return agents.SandboxIdentity(words[0], int(words[1]), int(words[2])) if words else NOBODY


NOBODY = agents.SandboxIdentity("", 0, 0)


async def a_starter_killed_at_any_moment_leaves_at_most_one(bench: RealBench) -> None:
    """Kill the daemon in the middle of a start, then start again: one payload, ever."""
    for step in range(10):
        mark = f"7{step}.{os.getpid()}"
        spec = bench.spec(("sh", "-c", f"exec sleep {mark}"))
        start_and_die(bench, spec, after=step * 0.013)
        started = await bench.restart().start(spec)
        # The launcher of the killed starter may still be at work; it must not win.
        await asyncio.sleep(0.3)
        alive = [pid for pid in survivors(mark) if parent_is_init_of(pid, started.identity.pid)]
        assert len(alive) == 1, (step, survivors(mark))
        await bench.sandbox.kill(spec.agent, started.identity)
        assert survivors(f"sleep\0{mark}") == []


def parent_is_init_of(pid: int, init: int) -> bool:
    """Whether *pid* is the payload of the sandbox with that pid 1."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[1]) == init


async def a_start_waits_for_a_launcher_that_is_still_at_work(bench: RealBench) -> None:
    """The launcher of a killed daemon holds the agent's lock; until it ends, nobody starts."""
    spec = bench.spec(("sh", "-c", "exec sleep 600"))
    spec.run_dir.mkdir()
    lock = os.open(spec.run_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(bench.sandbox.start(spec))
        done, _ = await asyncio.wait([starting], timeout=0.5)
        assert not done
        assert not spec.log.exists()
        os.close(lock)
    await bench.sandbox.kill(spec.agent, starting.result().identity)
    # And a sandbox that runs does not hold it: the lock is the launcher's alone.
    again = await bench.sandbox.start(spec)
    assert await bench.restart().find_left(spec.agent, spec.run_dir) == again.identity
    await bench.sandbox.kill(spec.agent, again.identity)


async def is_tight(bench: RealBench) -> None:
    """One look around from inside: rights, system calls, files, network, identity."""
    with socket.create_server(("127.0.0.1", 0)) as host_server:
        port = host_server.getsockname()[1]
        other = bench.make_state("other", AGENT_UID + 1 if ROOT else AGENT_UID)
        (other / "secret").write_text("secret")
        paths = ["/root", "/home", str(bench.top), str(other), "/srv", "/sys", "/boot", "/mnt"]
        text = INSIDE.read_text()
        spec = bench.spec(("python3", "-c", text, "/state/report", str(port), *paths))
        spec = dataclasses.replace(spec, env={"HOME": "/state", "GIVEN": "yes"})
        started = await bench.sandbox.start(spec)
        end = await bench.sandbox.wait(spec.agent, started.identity)
    assert end.code == 0, spec.log.read_text()
    report = json.loads((bench.state / "report").read_text())
    status = report["status"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert report["ids"][:2] == [bench.uid, bench.uid]
    assert set(report["ids"][2]) <= {bench.uid}
    assert report["uid_map"][0] == str(bench.uid)
    assert report["uid_map"][2] == "1"
    calls = report["calls"]
    assert calls.pop("clone3") == calls.pop("beyond_the_table") == "ENOSYS"
    assert {name: error for name, error in calls.items() if error != "EPERM"} == {}
    assert report["clone_newuser"] == "EPERM"
    assert report["tiocsti"] == "EPERM"
    sockets = report["sockets"]
    assert [name for name, how in sockets.items() if how == "None"] == [
        "unix", "inet", "inet6", "netlink",
    ]  # fmt: skip
    assert {sockets[name] for name in ("packet", "alg", "vsock")} == {"EAFNOSUPPORT"}
    assert report["raw_socket"] in ("EPERM", "EACCES")
    assert report["host_port"] == "ECONNREFUSED"
    assert report["metadata"] == report["outside"] == "ENETUNREACH"
    assert report["interfaces"] == ["lo"]
    assert all(seen in ("ENOENT", "EACCES", "[]") for seen in report["seen"].values()), report[
        "seen"
    ]
    assert report["seen"][str(bench.top)] == report["seen"][str(other)] == "ENOENT"
    writable = {path for path, how in report["write"].items() if how == "1"}
    assert writable == {"/state", "/tmp", "/var/tmp", "/dev/shm"}
    assert set(report["pid1"].values()) == {"ENOENT"}
    assert all(how in ("EACCES", "ENOENT", "b''") for how in report["kernel"].values())
    assert report["environment"].pop("PWD", "/state") == "/state"
    assert set(report["environment"]) <= {"PATH", "LANG", "HOME", "GIVEN", "LC_CTYPE"}
    assert report["descriptors"][:3] == [0, 1, 2]
    # The directory that is being listed; a pty pair of the probe itself.
    assert len(report["descriptors"]) <= 6
    assert report["processes"] == [1, 2]
    assert report["hostname"] == "alice"
    assert report["shadow"] in ("ENOENT", "EACCES")
    assert (bench.state / "mine").stat().st_uid == bench.uid


async def a_command_run_inside_is_as_tight(bench: RealBench) -> None:
    spec = bench.spec(("sh", "-c", "exec sleep 600"))
    started = await bench.sandbox.start(spec)
    try:
        command = ["python3", "-c", INSIDE.read_text(), "/state/report", "9", "/root"]
        result = await bench.sandbox.exec(spec.agent, started.identity, command)
        assert result.code == 0, result.stderr
        report = json.loads((bench.state / "report").read_text())
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(report["status"][name], 16) == 0, name
        assert (report["status"]["NoNewPrivs"], report["status"]["Seccomp"]) == ("1", "2")
        assert report["ids"][:2] == [bench.uid, bench.uid]
        assert report["calls"]["mount"] == report["clone_newuser"] == "EPERM"
        assert report["interfaces"] == ["lo"]
        assert len(report["descriptors"]) <= 6
        assert report["environment"]["HOME"] == "/state"
    finally:
        await bench.sandbox.kill(spec.agent, started.identity)


async def a_command_run_inside_ends_in_time_and_with_the_sandbox(bench: RealBench) -> None:
    spec = bench.spec(("sh", "-c", "exec sleep 600"))
    started = await bench.sandbox.start(spec)
    mark = f"604.{os.getpid()}"
    try:
        await bench.sandbox.exec(spec.agent, started.identity, ["sleep", mark], timeout=0.5)
    except errors.HiveError as error:
        assert "longer than" in error.message
    else:
        raise AssertionError("it did not end by time")
    async with asyncio.timeout(5):
        while survivors(f"sleep\0{mark}"):
            await asyncio.sleep(0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(
            bench.sandbox.exec(spec.agent, started.identity, ["sleep", mark])
        )
        async with asyncio.timeout(10):
            while not survivors(f"sleep\0{mark}"):
                await asyncio.sleep(0.01)
        await bench.sandbox.kill(spec.agent, started.identity)
    assert running.result().code == 128 + signal.SIGKILL


async def sandboxes_share_no_tmp_and_no_processes(bench: RealBench) -> None:
    name = f"mine-{os.getpid()}"
    one = bench.spec(("sh", "-c", f"echo mine > /tmp/{name}; echo done; exec sleep 600"))
    two = dataclasses.replace(
        bench.spec(("sh", "-c", "ls -A /tmp /var/tmp /dev/shm; ls /proc; echo end")),
        agent=ids.new_agent_id(),
        name="bob",
        log=bench.top / "log2",
        run_dir=bench.top / "run2",
    )
    first = await bench.sandbox.start(one)
    await shows(one.log, "done")
    second = await bench.sandbox.start(two)
    assert (await bench.sandbox.wait(two.agent, second.identity)).code == 0
    words = two.log.read_text().split()
    assert name not in words
    assert [word for word in words if word.isdigit() and int(word) > 9] == []
    assert not pathlib.Path("/tmp", name).exists()
    await bench.sandbox.kill(one.agent, first.identity)


async def a_fork_bomb_is_capped(bench: RealBench) -> None:
    script = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 500:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(600)\n"
        "        made += 1\n"
        "except BlockingIOError:\n"
        "    print('capped at', made, flush=True)\n"
        "time.sleep(600)\n"
    )
    spec = bench.spec(("python3", "-c", script))
    started = await bench.sandbox.start(spec)
    await shows(spec.log, "capped at")
    made = int(spec.log.read_text().split()[-1])
    assert 40 <= made < 64
    stats = await bench.sandbox.stats(spec.agent, started.identity)
    assert stats.processes is not None
    assert made <= stats.processes <= 66
    await bench.sandbox.kill(spec.agent, started.identity)


async def tools_work_under_the_filter(bench: RealBench) -> None:
    script = """set -e
git init -q r; cd r; git config user.email a@b; git config user.name a
echo x > f; git add f; git commit -qm one; git clone -q . ../c; git -C ../c log --oneline | wc -l
python3 -c 'import threading, subprocess, multiprocessing, asyncio, tempfile
t = threading.Thread(target=print, args=("thread",)); t.start(); t.join()
print(subprocess.check_output(["echo", "sub"]).decode().strip())
with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-5]))
asyncio.run(asyncio.sleep(0))'
cat > w.js <<'JS'
console.log("node", require("os").cpus().length > 0);
new (require("worker_threads").Worker)("console.log('worker')", {eval: true});
JS
node w.js
printf '#include <stdio.h>\\nint main(){puts("compiled");}' > a.c; cc a.c -o a; ./a
echo '{"a": 1}' | jq .a; rg -c x f
id -un; whoami; python3 -c 'import getpass, socket
print(getpass.getuser(), socket.gethostbyname("localhost"))'
ps ax | wc -l; echo all done
"""
    spec = bench.spec(("bash", "-c", script))
    spec = dataclasses.replace(spec, limits=ports.Limits(memory_bytes=1024**3, processes=256))
    started = await bench.sandbox.start(spec)
    end = await bench.sandbox.wait(spec.agent, started.identity)
    said = spec.log.read_text()
    assert end.code == 0, said
    for word in ("thread", "sub", "[5]", "node true", "worker", "compiled", "agent", "all done"):
        assert word in said, said


async def a_start_that_cannot_be_set_up_says_why(bench: RealBench) -> None:
    spec = bench.spec(("sh", "-c", "echo must not run"))
    bad = dataclasses.replace(spec, cwd="/no/such/place")
    started = None
    try:
        started = await bench.sandbox.start(bad)
    except errors.HiveError as error:
        assert "cannot start the sandbox of alice" in error.message
    else:
        # bwrap changes directory after it has let us go: then the payload's end says it.
        assert (await bench.sandbox.wait(spec.agent, started.identity)).code != 0
    assert "/no/such/place" in spec.log.read_text()
    assert "must not run" not in spec.log.read_text()
    assert await bench.sandbox.find_left(spec.agent, spec.run_dir) is None


STORIES: dict[str, Callable[[RealBench], Awaitable[None]]] = {
    story.__name__: story
    for story in (
        nothing_survives_stop_or_kill,
        what_a_payload_leaves_behind_is_ended,
        outlives_a_starter_that_is_killed,
        a_starter_killed_at_any_moment_leaves_at_most_one,
        a_start_waits_for_a_launcher_that_is_still_at_work,
        is_tight,
        a_command_run_inside_is_as_tight,
        a_command_run_inside_ends_in_time_and_with_the_sandbox,
        sandboxes_share_no_tmp_and_no_processes,
        a_fork_bomb_is_capped,
        tools_work_under_the_filter,
        a_start_that_cannot_be_set_up_says_why,
    )
}
