"""The daemon is killed while it starts, spawns and stops agents; the next one finds its way."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest
from tests.system import hive_process as hives

from hyperhive.cli import client
from hyperhive.domain import errors

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("HIVE_TEST_START_KILLS", "6"))
"""How often the daemon is killed; 15 and more for a full run."""
LONGEST = 2.5
"""Seconds that a daemon gets; a start takes about one."""


def harnesses(home: pathlib.Path) -> Counter[str]:
    """How many harnesses run, by the id of the agent whose /state they have."""
    found: Counter[str] = Counter()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if not words[0].endswith(b"python3") or b"harness/__main__.py" not in words[-2]:
                    continue
                for line in (entry / "mountinfo").read_text().splitlines():
                    source, place = line.split()[3:5]
                    if place == "/state" and str(home) in source:
                        found[pathlib.Path(source).parent.name] += 1
    return found


def groups(agents: list[str]) -> list[str]:
    """The control groups that bear an agent's id."""
    walk = os.walk("/sys/fs/cgroup")
    return [f"{top}/{name}" for top, names, _ in walk for name in names
            if any(agent in name for agent in agents)]  # fmt: skip


class Meddler:
    """Orders things of whatever daemon there is, until it is stopped."""

    def __init__(self, hive: hives.HiveProcess, chance: random.Random) -> None:
        self._hive = hive
        self._chance = chance
        self._stop = threading.Event()
        self._spawned = 0
        self.obeyed = 0

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.is_set():
            self._order()
            time.sleep(self._chance.uniform(0, 0.1))

    def stop(self) -> None:
        """Order nothing more."""
        self._stop.set()

    def _order(self) -> None:
        try:
            names = [row["name"] for row in self._hive.call("list")["agents"]]
            verb = self._chance.choice(["spawn", "stop", "start", "restart", "kill"])
            if verb == "spawn" and len(names) < 5:
                self._hive.call("spawn", name=f"a{self._spawned}", description="another")
                self._spawned += 1
            elif verb != "spawn":
                self._hive.call(verb, name=self._chance.choice(names))
            self.obeyed += 1
        except client.NoDaemon:
            pass
        except errors.HiveError as error:
            # Asked for before and answered into a dead connection, or ended in the middle.
            known = (errors.ErrorKind.CONFLICT, errors.ErrorKind.UNAVAILABLE)
            if error.kind not in known:
                raise
            if error.kind is errors.ErrorKind.CONFLICT:
                self._spawned += 1


def test_a_daemon_killed_at_any_moment_leaves_each_agent_one_sandbox(tmp_path, test_cache):
    seed = int(os.environ.get("HIVE_TEST_SEED", "0")) or random.randrange(1 << 30)
    print(f"HIVE_TEST_SEED={seed}")
    chance = random.Random(seed)
    home = tmp_path / "home"
    with hives.hive(home, test_cache, sandbox="host") as hive:
        # One whole life first, so that later ones have something to find.
        hive.start("--demo")
        hive.ask("spawn", "first")
        meddler = Meddler(hive, chance)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            meddling = pool.submit(meddler.run)
            try:
                for number in range(ROUNDS):
                    kill_soon(hive, chance, signal.SIGTERM if number % 3 == 2 else signal.SIGKILL)
            finally:
                meddler.stop()
            meddling.result()
        print(f"{meddler.obeyed} orders were obeyed in between")
        hive.start("--demo")
        rows = hive.until("all is as wanted", lambda: settled(hive), 60)
        running = [row["id"] for row in rows if row["wanted"] == "running"]
        assert harnesses(home) == Counter(running)
        assert all(os.path.exists(f"/proc/{row['pid']}") for row in rows if row["id"] in running)
        for row in rows:
            # Nothing is halted or broken by any of this: each still obeys.
            hive.call("start", name=row["name"])
        hive.until("all idle", lambda: all_idle(hive), 60)
        assert harnesses(home) == Counter(row["id"] for row in rows)
        assert hive.down() == 0
    assert hives.processes_of(home) == []
    assert groups([row["id"] for row in rows]) == []


def kill_soon(hive: hives.HiveProcess, chance: random.Random, number: signal.Signals) -> None:
    """Let a daemon run for a moment, then signal it."""
    if hive.process is None:
        launch(hive)
    time.sleep(chance.uniform(0, LONGEST))
    assert hive.process is not None
    hive.process.send_signal(number)
    code = hive.reap(30)
    # It may be told to end before it has learned how to.
    assert code == -number or (code, number) == (0, signal.SIGTERM), code


def launch(hive: hives.HiveProcess) -> None:
    """Start a daemon without waiting for it."""
    with hive.errors.open("a") as said:
        hive.process = subprocess.Popen(
            [*hives.HIVE, "up", "--json", "--port", "0", "--demo"],
            env=hive.env,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )


def settled(hive: hives.HiveProcess) -> list[dict[str, object]]:
    """All agents, once each is in the phase that is wanted of it."""
    rows = hive.call("list")["agents"]
    wanted = {"running": "running", "stopped": "stopped"}
    done = all(row["phase"] == wanted[row["wanted"]] for row in rows)
    return rows if done else []


def all_idle(hive: hives.HiveProcess) -> bool:
    """Whether every agent's harness has said hello and waits for mail."""
    rows = hive.call("list")["agents"]
    return all((row["phase"], row["turn_state"]) == ("running", "idle") for row in rows)
