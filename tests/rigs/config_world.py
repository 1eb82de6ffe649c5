"""A configuration repository by hand, and rows for it: what the card is made of."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from hyperhive import ports
from hyperhive.domain import access, approvals, deployments, errors, events, ids, proposals
from hyperhive.edges import build_logs, configuration_parts
from hyperhive.services import card, lookup, repositories

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

    async def read_blobs(
        self, agent: ids.AgentId, blobs: list[str], *, limit: int
    ) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for blob in blobs:
            found[blob] = await self.read_blob(agent, blob, limit=limit)
            limit -= len(found[blob])
        return found

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


class Ledger:
    """`ports.Meta`, as far as reading its log goes."""

    def __init__(self) -> None:
        self.commits: list[ports.Commit] = []

    def add(self, message: str) -> None:
        sha = hashlib.sha1(message.encode()).hexdigest()
        self.commits.insert(0, ports.Commit(sha, sha, (), "hyperhive <hive@hive>", AT, message))

    async def log(self, *, limit: int = 200) -> list[ports.Commit]:
        return self.commits[:limit]


class Desk:
    """`services.proposing.Proposing` without loops: rows as they are once those have run."""

    def __init__(self, store: ports.Store, shelf: Shelf) -> None:
        self._store = store
        self._shelf = shelf
        self.inputs = [
            ports.Input("base", "debian-12 2026-11-01", "2026-11-01T00:00:00Z", "debian bookworm"),
            ports.Input("hyperhive", "1.2", ""),
        ]

    async def rollback(
        self, caller: access.Caller, agent_name: str, tag: str, description: str = ""
    ) -> approvals.Approval:
        agent = await self._store.read(lambda tx: lookup.require_named(tx, agent_name))
        known = {each.name: each.sha for each in await self._shelf.tags(agent.id)}
        if tag not in known:
            raise errors.not_found(f"cannot roll {agent_name} back to {tag!r}: no such tag")
        deployed = await self._store.read(lambda tx: tx.get_deployment(agent.id))
        return await propose(
            self._store, agent.id, agent_name, known[tag], commit_ref=tag,
            base="" if deployed is None else deployed.sha, origin=proposals.Origin.ROLLBACK,
            description=description or f"Roll back to {tag}", requested_by_name=caller.name,
        )  # fmt: skip

    async def rebuild(self, caller: access.Caller, agent_name: str) -> approvals.Approval:
        agent = await self._store.read(lambda tx: lookup.require_named(tx, agent_name))
        return await propose(
            self._store, agent.id, agent_name, "", kind=approvals.ApprovalKind.REBUILD,
            origin=proposals.Origin.REBUILD, state=approvals.ApprovalState.APPROVED,
        )  # fmt: skip

    async def cancel_build(self, caller: access.Caller, approval_id: int) -> approvals.Approval:
        number = ids.ApprovalId(approval_id)
        await move(self._store, number, build=proposals.BuildState.CANCELLED)
        return await settle(self._store, number, approvals.ApprovalState.FAILED)

    async def list_inputs(self, caller: access.Caller) -> list[ports.Input]:
        return self.inputs

    async def update_inputs(self, caller: access.Caller, names: list[str]) -> approvals.Approval:
        known = {each.name for each in self.inputs}
        if not set(names) <= known:
            raise errors.invalid(f"cannot update inputs: there are {', '.join(sorted(known))}")
        manager = await self._store.read(lambda tx: lookup.require_named(tx, "manager"))
        return await propose(
            self._store, manager.id, "manager", "", kind=approvals.ApprovalKind.UPDATE_INPUTS,
            origin=proposals.Origin.INPUTS, configuration={"inputs": sorted(names)},
            state=approvals.ApprovalState.APPROVED,
        )  # fmt: skip


async def settle(
    store: ports.Store, approval: ids.ApprovalId, state: approvals.ApprovalState, note: str = ""
) -> approvals.Approval:
    """Write where an approval stands."""

    def work(tx: ports.Tx) -> approvals.Approval:
        row = tx.get_approval(approval)
        assert row is not None
        changed = dataclasses.replace(row, state=state, note=note)
        tx.update_approval(changed)
        announce(tx, events.EventKind.APPROVAL_MOVED, approval)
        return changed

    return await store.write(work)


@dataclasses.dataclass
class World:
    """Configuration in git as the verbs reach it, on fakes, with a directory for build logs."""

    store: ports.Store
    logs: pathlib.Path
    shelf: Shelf = dataclasses.field(default_factory=Shelf)
    meta: Ledger = dataclasses.field(default_factory=Ledger)
    mirror: dict[str, Any] = dataclasses.field(default_factory=lambda: {"configured": False})
    built_from: str = "inputs-1"
    """What a build would take now."""

    def parts(self) -> configuration_parts.Parts:
        repos: Any = self.shelf
        meta: Any = self.meta
        desk: Any = Desk(self.store, self.shelf)
        self.logs.mkdir(parents=True, exist_ok=True)
        return configuration_parts.Parts(
            cards=card.Cards(self.store, repos),
            proposing=desk,
            repositories=repositories.Repositories(self.store, repos, meta, lambda: self.mirror),
            build_logs=build_logs.BuildLogs(self.store, self.logs),
        )

    def log(self, approval: int, text: str) -> None:
        """Add to the log of a build."""
        with (self.logs / f"{approval}.log").open("a", encoding="utf-8") as file:
            file.write(text)


async def rebase(store: ports.Store, approval: ids.ApprovalId, base: str) -> None:
    """Another deploy landed: the proposal is compared with it, and its digest is another one."""

    def work(tx: ports.Tx) -> None:
        row, asked = tx.get_proposal(approval), tx.get_approval(approval)
        assert row is not None and asked is not None
        tx.update_proposal(dataclasses.replace(row, base_sha=base))
        digest = hashlib.sha256(f"{row.sha}{base}".encode()).hexdigest()
        tx.update_approval(dataclasses.replace(asked, digest=digest))
        announce(tx, events.EventKind.BUILD_MOVED, approval)

    await store.write(work)
