"""What is kept on disk of a sandbox: how to find it, and how it ended.

``sandbox`` is written by the launcher before bwrap runs and once more when pid 1 is
known: a line of JSON, a line of numbers. ``status.json`` is bwrap's own
``--json-status-fd``, which gets the exit code even when no daemon lives. Both lie in
the daemon's ``run_dir``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from typing import Any, Final

from hyperhive.domain import agents, ids

RECORD: Final = "sandbox"
STATUS: Final = "status.json"
_NUMBERS: Final = ("monitor", "monitor_start", "pid", "start_time")
_READ_LIMIT: Final = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One start, as the launcher wrote it down."""

    agent: str
    boot_id: str
    uid: int
    log: str
    cwd: str
    env: dict[str, str]
    cgroups: tuple[pathlib.Path, ...]
    monitor: int
    monitor_start: int
    pid: int
    """0: bwrap had not said yet which process is pid 1."""
    start_time: int

    @property
    def sandbox(self) -> agents.SandboxIdentity:
        """Pid 1 inside."""
        return agents.SandboxIdentity(self.boot_id, self.pid, self.start_time)

    @property
    def watcher(self) -> agents.SandboxIdentity:
        """The bwrap process outside; it ends when the payload does and writes down the code."""
        return agents.SandboxIdentity(self.boot_id, self.monitor, self.monitor_start)


def read_record(run_dir: pathlib.Path, agent: ids.AgentId) -> Record:
    """Return the record of the last start of *agent*; LookupError when there is none."""
    try:
        facts, numbers = (run_dir / RECORD).read_text(encoding="utf-8").splitlines()
        raw: dict[str, Any] = json.loads(facts)
        raw["cgroups"] = tuple(pathlib.Path(path) for path in raw["cgroups"])
        record = Record(**raw, **dict(zip(_NUMBERS, map(int, numbers.split()), strict=True)))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError) as error:
        raise LookupError(f"no sandbox was started from {run_dir}") from error
    if record.agent != agent:
        raise LookupError(f"{run_dir} belongs to another agent")
    return record


def read_exit_code(run_dir: pathlib.Path) -> int | None:
    """Return the payload's exit code as bwrap wrote it; None while it has not ended.

    The file is a row of JSON documents; a signal N is 128 + N.
    """
    try:
        with (run_dir / STATUS).open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_READ_LIMIT)
    except FileNotFoundError:
        return None
    for line in text.splitlines():
        try:
            document: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get("exit-code"), int):
            return document["exit-code"]
    return None


class Registry:
    """Where each agent's ``run_dir`` is, also after a restart of the daemon.

    Most calls of the port name an agent only. One small file per agent, below the
    cache; agent ids are unique, so hives may share it.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._known: dict[ids.AgentId, pathlib.Path] = {}

    def note(self, agent: ids.AgentId, run_dir: pathlib.Path) -> None:
        """Remember the directory of an agent; files of directories that are gone are dropped."""
        if self._known.get(agent) == run_dir:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for entry in self._directory.iterdir():
            # Another hive may tidy up at the same time.
            with contextlib.suppress(FileNotFoundError):
                if not pathlib.Path(entry.read_text(encoding="utf-8")).is_dir():
                    entry.unlink()
        # By rename: a file that we died over would be empty, and name the working directory.
        new = self._directory / f".{agent}.{os.getpid()}"
        new.write_text(str(run_dir), encoding="utf-8")
        new.replace(self._directory / agent)
        self._known[agent] = run_dir

    def find(self, agent: ids.AgentId) -> pathlib.Path:
        """Return the directory of an agent; LookupError when it never had a sandbox here."""
        if agent not in self._known:
            try:
                text = (self._directory / agent).read_text(encoding="utf-8")
            except FileNotFoundError as error:
                raise LookupError(f"agent {agent} never had a sandbox here") from error
            self._known[agent] = pathlib.Path(text)
        return self._known[agent]
