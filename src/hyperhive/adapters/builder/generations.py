"""Generations as files: named after their content, written once, never changed.

``<id>.json`` holds all that a sandbox needs. The id is a hash of that content, so equal builds
are one generation, whoever asked for them. ``current/<agent>`` is a symbolic link to the
generation that an agent runs, swapped by a rename; the store says which one it should be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import errors, ids

ID_DIGITS: Final = 32
_ID: Final = re.compile(r"[0-9a-f]{16,64}")
_SUFFIX: Final = ".json"


def identify(generation: ports.Generation) -> ids.GenerationId:
    """Return the id of that content."""
    content = to_json(generation)
    del content["id"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return ids.GenerationId(hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS])


def named(generation: ports.Generation) -> ports.Generation:
    """Return it with its id filled in."""
    return dataclasses.replace(generation, id=identify(generation))


def to_json(generation: ports.Generation) -> dict[str, Any]:
    """All of a generation as JSON values."""
    return {
        "id": generation.id,
        "built_from": generation.built_from,
        "lowers": [str(path) for path in generation.lowers],
        "binds": [
            {"source": str(bind.source), "target": bind.target, "writable": bind.writable}
            for bind in generation.binds
        ],
        "path": list(generation.path),
        "lock": dict(generation.lock),
    }


def from_json(value: Mapping[str, Any]) -> ports.Generation:
    """Read what `to_json` wrote."""
    return ports.Generation(
        id=ids.GenerationId(value["id"]),
        built_from=value["built_from"],
        lowers=tuple(pathlib.Path(path) for path in value["lowers"]),
        binds=tuple(
            ports.Bind(pathlib.Path(bind["source"]), bind["target"], bind["writable"])
            for bind in value["binds"]
        ),
        path=tuple(value["path"]),
        lock=value["lock"],
    )


class Generations:
    """The directory of generations; the daemon's alone. Blocking: call it in a thread."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def keep(self, generation: ports.Generation) -> ports.Generation:
        """Write a generation down durably; one that is there already is left as it is."""
        path = self._path(generation.id)
        if not path.exists():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            text = json.dumps(to_json(generation), indent=1, sort_keys=True) + "\n"
            new = path.with_name(f".{path.name}.{os.getpid()}")
            with new.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(path)
            sync_directory(self._directory)
        return generation

    def find(self, generation: ids.GenerationId) -> ports.Generation | None:
        """The generation of that id when all that it needs is still there."""
        if _ID.fullmatch(generation) is None:
            return None
        try:
            found = from_json(json.loads(self._path(generation).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        needed = (*found.lowers, *(bind.source for bind in found.binds))
        return found if all(path.exists() for path in needed) else None

    def activate(self, agent: ids.AgentId, generation: ids.GenerationId | None) -> None:
        """Swap the agent's link, durably. `HiveError` NOT_FOUND for an unknown generation."""
        current = self._directory / "current"
        current.mkdir(mode=0o700, parents=True, exist_ok=True)
        link = current / ids.parse_agent_id(agent)
        if generation is None:
            link.unlink(missing_ok=True)
        else:
            if self.find(generation) is None:
                raise errors.not_found(
                    f"cannot activate generation {generation}: it was never built or has been "
                    "collected; build it again"
                )
            new = current / f".{agent}.{os.getpid()}"
            new.unlink(missing_ok=True)
            new.symlink_to(pathlib.Path("..", f"{generation}{_SUFFIX}"))
            new.replace(link)
        sync_directory(current)

    def current(self) -> dict[str, ids.GenerationId]:
        """Which generation each agent's link names."""
        found: dict[str, ids.GenerationId] = {}
        with contextlib.suppress(FileNotFoundError):
            for link in (self._directory / "current").iterdir():
                if link.is_symlink() and not link.name.startswith("."):
                    found[link.name] = ids.GenerationId(link.readlink().stem)
        return found

    def all(self) -> Iterator[ids.GenerationId]:
        """Every generation that is kept."""
        for path in self._directory.glob(f"*{_SUFFIX}"):
            if _ID.fullmatch(path.stem):
                yield ids.GenerationId(path.stem)

    def forget(self, keep: Collection[str]) -> int:
        """Remove all generations but those of *keep*, and what writers left; bytes freed."""
        freed = 0
        for generation in list(self.all()):
            if generation not in keep:
                path = self._path(generation)
                freed += path.stat().st_size
                path.unlink()
        for path in self._directory.glob(f".*{_SUFFIX}.*"):
            path.unlink(missing_ok=True)
        return freed

    def _path(self, generation: ids.GenerationId) -> pathlib.Path:
        return self._directory / f"{generation}{_SUFFIX}"


def sync_directory(path: pathlib.Path) -> None:
    """Make renames in a directory durable (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
