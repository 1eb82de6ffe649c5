"""A real hive in a process of its own, driven as a user would: by `hive` and by HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hyperhive.cli import client

HIVE = (sys.executable, "-m", "hyperhive.cli")


class HiveProcess:
    """Starts, kills and asks one hive; `close` ends it and everything it started."""

    def __init__(
        self,
        home: pathlib.Path,
        cache: pathlib.Path,
        *,
        sandbox: str = "auto",
        program: Sequence[str] = HIVE,
        uid: int | None = None,
    ) -> None:
        """*program* is run as *uid*, which may be another user when we are root."""
        self.home = home
        self._program = program
        self._user: dict[str, Any] = (
            {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        )
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home.parent),
            "HIVE_HOME": str(home),
            "HIVE_CACHE": str(cache),
            "HIVE_SANDBOX": sandbox,
            "LANG": "C.UTF-8",
        }
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self.errors = home.parent / f"{home.name}.stderr"

    def start(self, *options: str, wait: float = 120.0) -> dict[str, Any]:
        """`hive up --json …`; returns the line that it prints when ready."""
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [*self._program, "up", "--json", "--port", "0", *options],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                **self._user,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.reap()
            raise AssertionError(f"not started (exit {code}): {self.errors.read_text()[-3000:]}")
        self.ready = json.loads(line)
        return self.ready

    def kill(self) -> None:
        """kill -9 of the daemon alone."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.reap()

    def terminate(self, wait: float = 20.0) -> int:
        """SIGTERM, as systemd would; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.reap(wait)

    def reap(self, wait: float = 20.0) -> int:
        """Wait for the daemon's end; its exit code."""
        assert self.process is not None
        code = self.process.wait(wait)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code

    def run(
        self, *arguments: str, stdin: str | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """One `hive` call, whatever comes of it."""
        return subprocess.run(
            [*self._program, *arguments],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **self._user,
        )

    def ask(self, *arguments: str, stdin: str | None = None) -> Any:
        """One `hive … --json` call that must succeed; its answer."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def call(self, verb: str, **args: Any) -> Any:
        """The same without a process for it: a line over the admin socket."""
        return client.AdminClient(self.home).call(verb, **args)

    def agent(self, name: str) -> dict[str, Any] | None:
        """The row of an agent, or None."""
        rows = self.call("list")["agents"]
        return next((row for row in rows if row["name"] == name), None)

    def until(self, what: str, reached: Callable[[], Any], seconds: float = 90.0) -> Any:
        """Wait for something true; a failure says what the hive looked like."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = reached()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(
            f"not reached in {seconds:.0f} s: {what}\n{self.run('list').stdout}\n"
            f"{self.run('messages').stdout}\n{self.errors.read_text()[-2000:]}\n{self.log()}"
        )

    def log(self) -> str:
        """The end of the daemon's log."""
        path = self.home / "log" / "daemon.log"
        return path.read_text()[-4000:] if path.exists() else ""

    def down(self) -> int:
        """`hive down`, also without a daemon; its exit code."""
        code = self.run("down").returncode
        if self.process is not None:
            self.reap(30)
        return code

    def close(self) -> None:
        """End the agents and the daemon, whatever state they are in."""
        try:
            self.down()
        except subprocess.TimeoutExpired:
            self.kill()
            self.run("down")


def processes_of(home: pathlib.Path) -> list[str]:
    """Every process whose command line or open root names this home: what must be gone."""
    found = []
    # A file system that a test has mounted is in the list of every new mount namespace.
    everywhere = {line.split()[4] for line in _mounts(pathlib.Path("/proc/self"))}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                mounts = [
                    line
                    for line in _mounts(entry)
                    if str(home) in line and line.split()[4] not in everywhere
                ]
                if str(home) in command or mounts:
                    found.append(f"{entry.name} {command[:200]}")
    return found


def _mounts(process: pathlib.Path) -> list[str]:
    return (process / "mountinfo").read_text().splitlines()


@contextlib.contextmanager
def scripted_model(brain: str = "puppet") -> Iterator[tuple[str, str]]:
    """The scripted Messages API in a process of its own; yields its URL and the key it wants."""
    key = "sk-ant-only-the-gateway-knows"
    command = [sys.executable, "-m", "hyperhive.scripted_model", "--brain", brain]
    with subprocess.Popen(
        [*command, "--require-key", key], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), key
        finally:
            process.terminate()


@contextlib.contextmanager
def hive(home: pathlib.Path, cache: pathlib.Path, **options: Any) -> Iterator[HiveProcess]:
    """A hive that is surely ended."""
    process = HiveProcess(home, cache, **options)
    try:
        yield process
    finally:
        process.close()
