"""A daemon's admin socket that answers what a test says, in a thread of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]


class FakeDaemon:
    """Answers verbs from `answers`; what was asked is in `asked`."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.events: dict[str, list[Any]] = {}
        self.errors: dict[str, dict[str, str]] = {}
        self.cut: set[str] = set()
        """Verbs on which the connection is ended without an answer."""
        self._socket = socket.socket(socket.AF_UNIX)
        (home / "run").mkdir(parents=True)
        # Relative to its directory, because a test's path may be longer than sun_path.
        directory = os.open(home / "run", os.O_PATH)
        self._socket.bind(f"/proc/self/fd/{directory}/admin.sock")
        os.close(directory)
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        (self.home / "run" / "admin.sock").unlink()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # A client that leaves early is its own business.
            with (
                contextlib.suppress(BrokenPipeError),
                connection,
                connection.makefile("rwb") as lines,
            ):
                request = json.loads(lines.readline())
                assert request["version"] == 1
                for answer in self._answer(request["verb"], request["args"]):
                    lines.write(json.dumps({"id": request["id"], **answer}).encode() + b"\n")

    def _answer(self, verb: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked.append((verb, args))
        if verb in self.errors:
            return [{"error": self.errors[verb]}]
        if verb in self.cut:
            return []
        events = [{"event": event} for event in self.events.get(verb, [])]
        return [*events, {"result": self.answers.get(verb, {})}]


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "home")
    yield fake
    fake.close()


class Ended:
    """How one run of `hive` ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """What was printed, which must be exactly one line of JSON."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


Hive = Callable[..., Ended]


@pytest.fixture
def hive(tmp_path: pathlib.Path) -> Hive:
    """Run the program as a person would, with the home of the fake daemon."""

    def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "hyperhive.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HIVE_HOME": str(tmp_path / "home"),
                "LC_ALL": "C.UTF-8",
                **(env or {}),
            },
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
