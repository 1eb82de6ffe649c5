"""Configuration repositories: contents in git, pinned by tags that only the daemon makes.

Every method that changes refs takes the repository's lock, is idempotent, and is durable
when it returns (core.fsync). The store decides; these follow.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Protocol

from hyperhive.domain import ids


class TagKind(enum.Enum):
    """What a tag of an applied repository says about a commit (S32)."""

    PROPOSAL = "proposal"
    APPROVED = "approved"
    BUILDING = "building"
    DEPLOYED = "deployed"
    FAILED = "failed"
    DENIED = "denied"


@dataclasses.dataclass(frozen=True, slots=True)
class Tag:
    """A wanted or found tag, ``<kind>/<id>``; ``message`` makes it an annotated one."""

    kind: TagKind
    approval: int
    sha: str
    """The commit that it names (peeled)."""
    message: str = ""

    @property
    def name(self) -> str:
        """Short name, e.g. ``deployed/7``."""
        return f"{self.kind.value}/{self.approval}"


@dataclasses.dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a commit. Policy allows modes 100644 and 100755 only."""

    path: str
    mode: str
    blob: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One changed path between two commits; None where a side has no such file."""

    path: str
    before: TreeFile | None
    after: TreeFile | None


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """A commit for reading. Text is the author's: show it escaped, believe none of it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    at: datetime.datetime
    message: str
    tags: tuple[str, ...] = ()


Produce = Callable[[str], AsyncGenerator[bytes, None]]
"""``produce(commit_ref)`` runs in the requester's own sandbox, as its uid: yields one line with
the full commit id, then the bytes of a pack of everything that it reaches. Untrusted. Closed by
the importer (`aclose`) when it takes too long or sends too much."""


class ConfigRepos(Protocol):
    """The applied repository of every agent, and how the proposed one begins."""

    async def seed(
        self, agent: ids.AgentId, name: ids.AgentName, files: Mapping[str, bytes], owner_uid: int
    ) -> Commit:
        """Make *applied* with one commit of *files* tagged deployed/0 and main on it, and
        *proposed* as its clone owned by *owner_uid* (only where there is none: a proposed
        repository that exists is never touched again). Idempotent; returns the seed commit.
        """
        ...

    async def import_commit(
        self, agent: ids.AgentId, approval: ids.ApprovalId, commit_ref: str, produce: Produce
    ) -> Commit:
        """Bring one commit over (threats.md 1.5.4) and pin it as ``proposal/<approval>``.

        `HiveError` INVALID names the rule and the path that refused it; nothing is left then.
        When the tag exists already, its commit is returned and nothing is imported.
        """
        ...

    async def restore(
        self, agent: ids.AgentId, approval: ids.ApprovalId, sha: str, message: str
    ) -> Commit:
        """For a rollback: a new commit on top of main with the tree of *sha*, pinned as
        ``proposal/<approval>``. When that tag exists already, its commit is returned."""
        ...

    async def descends(self, agent: ids.AgentId, sha: str, ancestor: str) -> bool:
        """Whether *ancestor* is *sha* or among what it reaches: then main can fast-forward."""
        ...

    async def pin(self, agent: ids.AgentId, tags: Sequence[Tag]) -> None:
        """Create what is missing of *tags*; CONFLICT when one exists with another commit."""
        ...

    async def advance_main(self, agent: ids.AgentId, sha: str) -> None:
        """Fast-forward main to a deployed commit, last of all (S33); CONFLICT when it cannot."""
        ...

    async def tags(self, agent: ids.AgentId) -> list[Tag]: ...
    async def main(self, agent: ids.AgentId) -> str | None: ...
    async def refs(self, agent: ids.AgentId) -> dict[str, str]:
        """All full ref names with what they point at (tag objects unpeeled): for the mirror."""
        ...

    def repository(self, agent: ids.AgentId) -> str:
        """Path of the bare applied repository; the daemon's alone."""
        ...

    async def show(self, agent: ids.AgentId, sha: str) -> Commit: ...
    async def history(self, agent: ids.AgentId, *, limit: int = 200) -> list[Commit]:
        """Every tagged commit with its tags, newest tag first."""
        ...

    async def files(self, agent: ids.AgentId, sha: str) -> list[TreeFile]: ...
    async def changes(self, agent: ids.AgentId, before: str | None, after: str) -> list[Change]:
        """Changed paths, no renames guessed; *before* None is the empty tree."""
        ...

    async def read_blob(self, agent: ids.AgentId, blob: str, *, limit: int) -> bytes:
        """The content; `HiveError` INVALID when it has more than *limit* bytes (asked first)."""
        ...

    async def read_blobs(
        self, agent: ids.AgentId, blobs: Sequence[str], *, limit: int
    ) -> dict[str, bytes]:
        """Like `read_blob` for many at once, which have at most *limit* bytes together."""
        ...

    async def export(self, agent: ids.AgentId, sha: str, target: str) -> None:
        """Write the tree's files below an empty directory, blob by blob, and check that the tree
        id recomputed from the disk is the commit's. No checkout, no attributes, no archive."""
        ...

    async def reconcile(
        self, agent: ids.AgentId, wanted: Sequence[Tag], main: str | None
    ) -> list[str]:
        """After a start: clear stale locks, create missing tags, roll main forward; return
        sentences about refs that differ from the store (they are not overwritten)."""
        ...

    async def publish(self, agents: Sequence[tuple[ids.AgentId, ids.AgentName]]) -> None:
        """Bring the read-only export (/applied and /meta in the manager's sandbox) up to date."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class MetaEntry:
    """What meta pins for one agent."""

    agent: ids.AgentId
    name: ids.AgentName
    role: str
    sha: str
    generation: str
    lock: Mapping[str, object]
    """The builder's pins (``hive.lock``): resolved versions; JSON."""


class Meta(Protocol):
    """The one repository that pins, per agent, exactly what is deployed (S41). Serialised."""

    async def sync(self, entries: Sequence[MetaEntry], message: str) -> str | None:
        """Render for exactly these agents and commit only on change (S43); the commit or None."""
        ...

    async def prepare(self, entry: MetaEntry) -> None:
        """Stage this agent's new entry without committing (S44); replaces an earlier staging."""
        ...

    async def finalize(self, entry: MetaEntry, approval: ids.ApprovalId, message: str) -> str:
        """Commit the entry, once per approval (found again by its ``Deploy-Id`` trailer)."""
        ...

    async def abort(self) -> None:
        """Restore what is committed (S44)."""
        ...

    async def log(self, *, limit: int = 200) -> list[Commit]: ...
    async def refs(self) -> dict[str, str]: ...
    def repository(self) -> str: ...
