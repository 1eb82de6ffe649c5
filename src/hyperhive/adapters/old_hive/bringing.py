"""Brings files of the older home to their new places. Each appears whole, by one rename.

Below the new home ``imported/`` keeps what has no place in a hive, and what is half done::

    imported/log.jsonl      what was done, a line each
    imported/done.json      the marker: all was tried
    imported/broker.sqlite  the older database
    imported/meta           the older meta repository, as files
    imported/credentials    logins of agents, which agents have no more
    imported/under-way      removed in the end

In place, what lay in the home before lies in ``before-import/`` afterwards, untouched.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Final

from hyperhive.adapters.old_hive import copying, layout
from hyperhive.domain import errors, ids

BEFORE: Final = "before-import"
_COMPLETE: Final = "complete"
_LOGIN: Final = ".credentials.json"
_CLAUDE: Final = (".claude", ".claude-imported")
_TOP: Final = ("applied", "agents", "meta", "db", layout.MARKER)


def set_aside(home: pathlib.Path) -> pathlib.Path:
    """In place: rename what is of the older system into `BEFORE`, and return that. Blocks."""
    before = home / BEFORE
    try:
        before.mkdir(mode=0o700, exist_ok=True)
        if (before / _COMPLETE).exists():
            return before
        for path in sorted(home.iterdir()):
            target = before / path.name
            of_it = path.name in _TOP or path.name.startswith("broker.sqlite")
            # What is there already was renamed before; what has its name now is ours.
            if of_it and not target.exists():
                path.rename(target)
        (before / _COMPLETE).touch()
        copying.sync(before)
    except OSError as error:
        raise errors.unavailable(
            f"cannot set the older hive aside: {error.filename}: {error.strerror}"
        ) from error
    return before


class Bringing:
    """Files of one older home, on their way into one new home."""

    def __init__(self, source: pathlib.Path, home: pathlib.Path, *, move: bool) -> None:
        self._source = source
        self._home = home
        self._move = move
        self.kept = home / "imported"
        self._under_way = self.kept / "under-way"

    def begin(self) -> None:
        """Make our places; INVALID when states cannot be moved to another file system."""
        for place in (self.kept, self._under_way, self.kept / "credentials"):
            place.mkdir(mode=0o700, exist_ok=True)
            place.chmod(0o700)
        if self._move and self._source.stat().st_dev != self._home.stat().st_dev:
            raise errors.invalid(
                f"cannot move from {self._source} to {self._home}: they are on different file "
                "systems; leave --move out to copy"
            )

    def end(self) -> None:
        """Remove what was under way, unless something of somebody is in it."""
        for place in self._under_way.iterdir():
            if not (place / "state").exists():
                shutil.rmtree(place)
        if not any(self._under_way.iterdir()):
            self._under_way.rmdir()

    def state(self, old: layout.OldAgent, agent: ids.AgentId, uid: int) -> copying.Copied:
        """Bring an agent's state and its sessions; nothing when it has its state already."""
        own = self._home / "agents" / agent
        own.mkdir(mode=0o711, exist_ok=True)
        own.chmod(0o711)
        target = own / "state"
        if target.exists():
            return copying.Copied()
        place = self._under_way / agent
        state = place / "state"
        if self._move and (old.state or state.exists()):
            place.mkdir(mode=0o700, exist_ok=True)
            if not state.exists():
                (self._source / "agents" / old.name / "state").rename(state)
            copied = copying.own(state, uid)
        else:
            _fresh(place)
            if old.state:
                parts = ("agents", old.name, "state")
                copied = copying.copy(self._source, parts, state, copying.Manner(uid))
            else:
                copied = copying.Copied()
                state.mkdir(mode=0o700)
                copying.own(state, uid)
        if old.claude:
            self._claude(old, agent, place, uid, copied)
        copying.sync(place)
        state.rename(target)
        copying.sync(own)
        return copied

    def _claude(
        self,
        old: layout.OldAgent,
        agent: ids.AgentId,
        place: pathlib.Path,
        uid: int,
        copied: copying.Copied,
    ) -> None:
        """Sessions lie in the state here; the login is nothing that an agent has any more."""
        parts = ("agents", old.name, "claude")
        login = self.kept / "credentials" / f"{agent}.json"
        copying.take(self._source, parts, _LOGIN, login)
        noted = place / "claude-is"
        if not noted.exists():
            # Said before it is done, so that a second try does not take the first for another's.
            taken = os.path.lexists(place / "state" / _CLAUDE[0])
            fresh = place / ".claude-is"
            fresh.write_text(_CLAUDE[taken])
            fresh.rename(noted)
        target = place / "state" / noted.read_text()
        if os.path.lexists(target):
            return
        staged = place / "claude"
        if staged.exists():
            shutil.rmtree(staged)
        how = copying.Manner(uid, skip=frozenset({_LOGIN}))
        more = copying.copy(self._source, parts, staged, how)
        copied.files += more.files
        copied.bytes += more.bytes
        copied.left += more.left
        staged.rename(target)

    def proposed(self, old: layout.OldAgent, name: ids.AgentName, owner: int) -> copying.Copied:
        """Bring what the manager edits, byte for byte; nothing when something is there."""
        top = self._home / "proposed"
        own = top / name
        if os.path.lexists(own / "config"):
            return copying.Copied()
        place = self._under_way / f"proposed-{name}"
        _fresh(place)
        parts = ("agents", old.name, "config")
        copied = copying.copy(self._source, parts, place / "config", copying.Manner(owner))
        for directory in (top, own):
            directory.mkdir(mode=0o755, exist_ok=True)
            directory.chmod(0o755)
        copying.sync(place)
        (place / "config").rename(own / "config")
        copying.sync(own)
        return copied

    def repository(self, old: layout.OldAgent, agent: ids.AgentId) -> pathlib.Path:
        """A copy of the git directory of an applied repository, for a sandbox of nobody to read.

        `HiveError` INVALID when others than the older daemon could have written to it.
        """
        parts = ["applied", old.name]
        there = self._source.joinpath(*parts)
        layout.check_owner(there)
        if not (there / "HEAD").is_file():
            parts.append(".git")
            if not (there / ".git").is_dir():
                raise errors.invalid(f"cannot import {there}: it is no git repository")
            layout.check_owner(there / ".git")
        place = self._under_way / f"applied-{agent}"
        _fresh(place)
        copied = copying.copy(self._source, parts, place / "git", copying.Manner(plain=True))
        if any(path.startswith(("objects", "refs")) for path in copied.left):
            raise errors.invalid(
                f"cannot import {there}: it has links where git has objects: {copied.left[0]}"
            )
        return place / "git"

    def meta(self) -> None:
        """Keep the older meta repository as files."""
        target = self.kept / "meta"
        if target.exists():
            return
        place = self._under_way / "meta"
        _fresh(place)
        copying.copy(self._source, ("meta",), place / "meta", copying.Manner())
        copying.sync(place)
        (place / "meta").rename(target)


def _fresh(place: pathlib.Path) -> None:
    """Make an empty place of ours alone; what a death left there goes."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(mode=0o700)
