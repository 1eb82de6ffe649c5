"""A configuration repository by hand, and rows for it: what the card is made of."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

from hyperhive import ports
from hyperhive.domain import approvals, deployments, errors, events, ids, proposals

Files = Mapping[str, bytes]
AT = datetime.datetime(2026, 11, 23, 8, 0, tzinfo=datetime.UTC)


class Shelf:
    """`ports.ConfigRepos`, as far as reading goes: commits are put on it as they are."""

    def __init__(self) -> None:
        self.commits: dict[str, tuple[ports.Commit, Files]] = {}
        self.executable: set[str] = set()
        self.read: list[str] = []
        """Blobs whose content was asked for."""
        self._tags: list[ports.Tag] = []

    def put(self, files: Files, message: str = "a change") -> str:
        """Add a commit with exactly these files and return its id."""
        sha = hashlib.sha1(repr((sorted(files.items()), message)).encode()).hexdigest()
        parents = tuple(self.commits)[-1:]
        commit = ports.Commit(sha, sha[::-1], parents, "manager <manager@hive>", AT, message)
        self.commits[sha] = (commit, dict(files))
        return sha

    def tag(self, name: str, sha: str, message: str = "") -> None:
        kind, _, number = name.partition("/")
        self._tags.append(ports.Tag(ports.TagKind(kind), int(number), sha, message))

    async def tags(self, agent: ids.AgentId) -> list[ports.Tag]:
        return list(self._tags)

    async def show(self, agent: ids.AgentId, sha: str) -> ports.Commit:
        if sha not in self.commits:
            raise errors.not_found(f"cannot show {sha[:12]}: no such commit")
        names = tuple(tag.name for tag in self._tags if tag.sha == sha)
        return dataclasses.replace(self.commits[sha][0], tags=names)

    async def history(self, agent: ids.AgentId, *, limit: int = 200) -> list[ports.Commit]:
        tagged = {tag.sha for tag in self._tags}
        return [await self.show(agent, sha) for sha in reversed(self.commits) if sha in tagged]

    async def files(self, agent: ids.AgentId, sha: str) -> list[ports.TreeFile]:
        await self.show(agent, sha)
        return [self._file(path, content) for path, content in self.commits[sha][1].items()]

    async def changes(
        self, agent: ids.AgentId, before: str | None, after: str
    ) -> list[ports.Change]:
        old = {} if before is None else {f.path: f for f in await self.files(agent, before)}
        new = {f.path: f for f in await self.files(agent, after)}
        return [
            ports.Change(path, old.get(path), new.get(path))
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path)
        ]

    async def read_blob(self, agent: ids.AgentId, blob: str, *, limit: int) -> bytes:
        self.read.append(blob)
        for _, files in self.commits.values():
            for content in files.values():
                if self._blob(content) == blob:
                    if len(content) > limit:
                        raise errors.invalid(f"cannot read {blob[:12]}: it is too large")
                    return content
        raise errors.not_found(f"cannot read {blob[:12]}: no such file content")

    def _file(self, path: str, content: bytes) -> ports.TreeFile:
        mode = "100755" if path in self.executable else "100644"
        return ports.TreeFile(path, mode, self._blob(content), len(content))

    def _blob(self, content: bytes) -> str:
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


async def propose(
    store: ports.Store,
    agent: ids.AgentId,
    name: str,
    sha: str,
    *,
    base: str = "",
    **changes: Any,
) -> approvals.Approval:
    """Insert an approval with its proposal; *changes* go to whichever row has the field."""
    of_approval = {f.name for f in dataclasses.fields(approvals.Approval)}
    own = {key: value for key, value in changes.items() if key in of_approval}
    rest = {key: value for key, value in changes.items() if key not in of_approval}

    def work(tx: ports.Tx) -> approvals.Approval:
        row = approvals.Approval(
            id=ids.ApprovalId(0), kind=approvals.ApprovalKind.APPLY_COMMIT,
            agent_name=ids.AgentName(name), agent_id=agent, description="needs curl",
            requested_by=ids.PartyId(agent), requested_by_name="manager", requested_at=AT,
            state=approvals.ApprovalState.PENDING,
            digest=hashlib.sha256(f"{sha}{base}".encode()).hexdigest(), decided_by="",
            decided_via="", decided_at=None, note="", changed_at=AT,
        )  # fmt: skip
        made = tx.insert_approval(dataclasses.replace(row, **own))
        proposal = proposals.Proposal(
            approval=made.id, agent_id=agent, origin=proposals.Origin.COMMIT,
            commit_ref=sha[:12], sha=sha, tree=sha[::-1], base_sha=base,
            build=proposals.BuildState.BUILT, build_note="", generation="0" * 16,
            configuration={}, effects={}, step=proposals.DeployStep.NONE, epoch=0, deadline=None,
            expires_at=None, tag="", changed_at=AT,
        )  # fmt: skip
        tx.insert_proposal(dataclasses.replace(proposal, **rest))
        announce(tx, events.EventKind.APPROVAL_REQUESTED, made.id)
        return made

    return await store.write(work)


async def move(store: ports.Store, approval: ids.ApprovalId, **changes: Any) -> None:
    """Write fields of a proposal, as the loops would."""

    def work(tx: ports.Tx) -> None:
        row = tx.get_proposal(approval)
        assert row is not None
        tx.update_proposal(dataclasses.replace(row, **changes))
        announce(tx, events.EventKind.BUILD_MOVED, approval)

    await store.write(work)


async def deploy(
    store: ports.Store, agent: ids.AgentId, sha: str, approval: int = 0, **changes: Any
) -> None:
    """Write what an agent runs."""

    def work(tx: ports.Tx) -> None:
        row = deployments.Deployment(
            agent_id=agent, approval=ids.ApprovalId(approval), sha=sha, tree=sha[::-1],
            generation="", built_from="inputs-1", configuration={}, deployed_at=AT,
        )  # fmt: skip
        tx.put_deployment(dataclasses.replace(row, **changes))
        kind = events.EventKind.CONFIGURATION_DEPLOYED
        tx.record(events.Event(kind, agent=agent, topics=(events.DEPLOYS,)))

    await store.write(work)


def announce(tx: ports.Tx, kind: events.EventKind, approval: ids.ApprovalId) -> None:
    topics = (events.APPROVALS, events.DEPLOYS)
    tx.record(events.Event(kind, approval=approval, topics=topics))
