"""A real harness process under test: its own state directory, fake daemon and scripted model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import hyperhive
from hyperhive.scripted_model import puppet, server
from rigs.harness_daemon import FakeDaemon

STAGED = ("__init__.py", "wire/__init__.py", "wire/agent_protocol.py", "harness")


def stage(target: pathlib.Path) -> pathlib.Path:
    """Copy what a sandbox gets to see of hyperhive and return the program to start."""
    source = pathlib.Path(hyperhive.__file__).parent
    for name in STAGED:
        goal = target / "hyperhive" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, goal)
    return target / "hyperhive/harness/__main__.py"


class Harness:
    """Starts, kills and looks at one harness."""

    def __init__(self, root: pathlib.Path, program: str, model: server.ScriptedModel) -> None:
        self.root = root
        self.state = root / "state"
        self.state.mkdir()
        self.model = model
        self.daemon = FakeDaemon(root / "hive.sock")
        self.daemon.listen()
        self._claude = program
        self._main = stage(root / "staged")
        self._log = root / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, python: str = sys.executable) -> None:
        private = self.root / "private"
        private.mkdir(exist_ok=True)
        argv = [
            python, "-I", "-S", str(self._main),
            f"--socket={self.daemon.path}", f"--state={self.state}", f"--claude={self._claude}",
            f"--gateway={self.model.url.rpartition(':')[2]}", "--egress=9",
            f"--private={private}", "--allow-root=yes",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.state,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ANTHROPIC_SECRET": "not for you"},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; returns the exit code and the seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.terminate()
        return self.process.wait(20), time.monotonic() - began

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def claude_pids(self) -> list[int]:
        """The claude processes of this harness's state directory that still run."""
        mine = f"--add-dir {self.state} "
        return [pid for pid, line in command_lines() if mine in line]

    def resident(self) -> int:
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(int(li.split()[1]) * 1024 for li in text.splitlines() if li.startswith("VmRSS"))

    def wake_ups(self) -> int:
        """Context switches so far: what an idle process does not have."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return sum(int(li.split()[1]) for li in text.splitlines() if "ctxt_switches" in li)

    def prompts(self) -> list[list[dict[str, Any]]]:
        """The content blocks of every user message that reached the model, newest request."""
        return [
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
            for message in self.model.requests[-1].body["messages"]
            if message["role"] == "user"
        ]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.daemon.hang_up()
        for pid in self.claude_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def command_lines() -> Iterator[tuple[int, str]]:
    """(pid, command line) of what runs."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words != [b""]:
                    yield int(entry.name), b" ".join(words).decode("utf-8", "replace")


def eventually(condition: Any, seconds: float = 10.0) -> None:
    """Wait for what only the kernel can tell (a process that ends)."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def scripted_model() -> Iterator[server.ScriptedModel]:
    """The puppet on loopback, in a thread of its own."""
    model = server.ScriptedModel(puppet.puppet, show_secrets=True)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(model.start(), loop).result(10)
    try:
        yield model
    finally:
        asyncio.run_coroutine_threadsafe(model.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def harness(tmp_path: pathlib.Path, claude_binary: str) -> Iterator[Harness]:
    """A harness that runs, with its daemon and its model."""
    with scripted_model() as model:
        made = Harness(tmp_path, claude_binary, model)
        made.start()
        try:
            yield made
        finally:
            made.close()
