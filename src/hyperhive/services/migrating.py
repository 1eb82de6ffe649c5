"""Writes down what is brought over from the older hyperhive. Plain functions on a `ports.Tx`.

Each may be repeated: what an earlier run has written is found again by its older name or
number, and never written twice. What the agents have done meanwhile is left alone.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import (
    agents,
    approvals,
    deployments,
    errors,
    events,
    ids,
    imports,
    messages,
    proposals,
)
from hyperhive.services import pinning, posting, spawning

SOURCE: Final = "import:source"
_AGENT: Final = "import:agent:"
_MAIL: Final = "import:mail"
_VIA: Final = "import"


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned:
    """A commit that tags of an agent name, with its tree."""

    sha: str
    tree: str


def begin(tx: ports.Tx, source: str) -> None:
    """Note where things come from. CONFLICT in a hive that has a life of its own.

    Its approvals have numbers that the older tags have, too: they cannot be told apart.
    """
    known = tx.get_value(SOURCE)
    if known == source:
        return
    if known is not None:
        raise errors.conflict(
            f"cannot import {source}: this hive was imported from {known}; choose another --home"
        )
    if tx.list_agents() or tx.list_approvals(limit=1):
        raise errors.conflict(
            f"cannot import {source}: this hive has agents or approvals of its own; choose an "
            "empty directory with --home"
        )
    tx.put_value(SOURCE, source)


def adopt_agent(
    tx: ports.Tx, clock: ports.Clock, old: str, name: ids.AgentName, *, live: bool
) -> agents.Agent:
    """The row of an agent of the older hive, made if there is none; a fresh id, the same name.

    One that its owner had destroyed keeps what was its own, and is not started.
    """
    known = tx.get_value(_AGENT + old)
    if known is not None:
        agent = tx.get_agent(ids.AgentId(known))
        if agent is not None:
            return agent
    role = agents.Role.MANAGER if name == ids.MANAGER_NAME else agents.Role.AGENT
    made = spawning.create(tx, clock, name, role, "it was brought over from the older hyperhive")
    agent = dataclasses.replace(
        made,
        phase=agents.Phase.STOPPED,
        wanted=agents.Wanted.RUNNING if live else agents.Wanted.STOPPED,
    )
    tx.update_agent(agent)
    tx.put_value(_AGENT + old, agent.id)
    return agent


def deploy(
    tx: ports.Tx,
    clock: ports.Clock,
    agent: agents.Agent,
    pinned: Pinned,
    approval: int,
    first: str,
    configuration: Mapping[str, object],
) -> None:
    """Write down what runs, once. *first* is the commit that deployed/0 names, if any."""
    if tx.get_deployment(agent.id) is not None:
        return
    if first:
        tx.put_value(pinning.seed_key(agent.id), first)
    tx.put_deployment(
        deployments.Deployment(
            agent_id=agent.id,
            approval=ids.ApprovalId(approval),
            sha=pinned.sha,
            tree=pinned.tree,
            generation="",
            built_from="",
            configuration=configuration,
            deployed_at=clock.now(),
        )
    )
    tx.record(
        events.Event(
            events.EventKind.CONFIGURATION_SEEDED,
            agent=agent.id,
            text=pinned.sha[:12],
            topics=(events.DEPLOYS, events.MIRROR),
        )
    )


def adopt_approvals(
    tx: ports.Tx,
    clock: ports.Clock,
    rows: Sequence[imports.OldApproval],
    parties: Mapping[str, agents.Agent],
    tags: Mapping[ids.AgentId, Sequence[ports.Tag]],
    trees: Mapping[str, str],
) -> collections.Counter[str]:
    """Adopt the older approvals under their numbers, also those that only tags tell of.

    *parties* are the agents by their older name, *trees* the tree of each commit. Returns how
    many there are now in each state, and how many rows could not be used.
    """
    known = {row.id: row for row in rows}
    by_number: dict[int, tuple[agents.Agent, list[ports.Tag]]] = {}
    for old, agent in parties.items():
        for tag in tags.get(agent.id, ()):
            if tag.approval == 0:
                continue
            owner, own = by_number.setdefault(tag.approval, (agent, list[ports.Tag]()))
            if owner.id == agent.id:
                own.append(tag)
            known.setdefault(tag.approval, _only_tagged(tag.approval, old))
    counts: collections.Counter[str] = collections.Counter()
    for number, row in sorted(known.items()):
        agent, own = by_number.get(number) or (parties.get(row.agent), list[ports.Tag]())
        made = _approval(clock, number, row, agent, own)
        if made is None:
            counts["not usable"] += 1
            continue
        counts[made.state.value] += 1
        if tx.get_approval(made.id) is not None:
            continue
        tx.adopt_approval(made)
        if made.kind is approvals.ApprovalKind.APPLY_COMMIT and agent is not None:
            tx.insert_proposal(_proposal(made, agent, row, own, trees))
        tx.record(
            events.Event(
                events.EventKind.APPROVAL_MOVED,
                approval=made.id,
                text=f"{made.state.value} before the import",
                topics=(events.APPROVALS,),
            )
        )
    return counts


def adopt_mail(
    tx: ports.Tx,
    clock: ports.Clock,
    rows: Iterable[imports.OldMessage],
    parties: Mapping[str, agents.Agent],
) -> collections.Counter[str]:
    """Queue the messages that nobody has handled, once; returns how many, and what was left."""
    done = tx.get_value(_MAIL)
    if done is not None:
        return collections.Counter({str(name): int(count) for name, count in done.items()})
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        recipient = _party(row.recipient, parties)
        sender = _party(row.sender, parties)
        if recipient is None:
            counts[f"messages to {row.recipient[:40]!r}, who is not here"] += 1
            continue
        try:
            body = messages.check_body(row.body)
        except errors.HiveError:
            counts["messages that are empty or too long"] += 1
            continue
        # Nobody writes in the name of somebody who is not here: the hive hands it over.
        sender_id, sender_name = sender or (ids.SYSTEM, _name(row.sender))
        posting.post(
            tx,
            min(row.sent_at or clock.now(), clock.now()),
            sender=sender_id,
            sender_name=sender_name,
            recipient=recipient[0],
            recipient_name=recipient[1],
            body=body,
            key=imports.message_key(row.id),
        )
        counts["queued"] += 1
    tx.put_value(_MAIL, dict(counts))
    return counts


def _only_tagged(number: int, agent: str) -> imports.OldApproval:
    return imports.OldApproval(number, agent, "apply_commit", "", "", "", "", None, None)


def _approval(
    clock: ports.Clock,
    number: int,
    row: imports.OldApproval,
    agent: agents.Agent | None,
    tags: Sequence[ports.Tag],
) -> approvals.Approval | None:
    """The approval as it is kept here; None when its agent's name is none."""
    if agent is None:
        try:
            name = ids.parse_agent_name(row.agent)
        except errors.HiveError:
            return None
    else:
        name = agent.name
    kind = imports.KINDS[row.kind]
    spawned = kind is approvals.ApprovalKind.SPAWN
    state, said = imports.outcome(
        row.status, frozenset(tag.kind.value for tag in tags), spawned=spawned
    )
    told = next((tag.message for tag in tags if tag.message and tag.kind.value == state.value), "")
    at = row.requested_at or _earliest(clock, row.decided_at)
    decided = row.decided_at or at
    is_decided = state is not approvals.ApprovalState.EXPIRED
    return approvals.Approval(
        id=ids.ApprovalId(number),
        kind=kind,
        agent_name=name,
        agent_id=None if agent is None else agent.id,
        description=row.description[: approvals.DESCRIPTION_MAX],
        # The older rows do not say who asked.
        requested_by=ids.SYSTEM,
        requested_by_name="before the import",
        requested_at=at,
        state=state,
        digest="",
        decided_by="operator" if is_decided else "",
        decided_via=_VIA if is_decided else "",
        decided_at=decided if is_decided else None,
        note=(said or row.note or told)[: approvals.NOTE_MAX],
        changed_at=decided,
    )


_BUILDS: Final = {
    approvals.ApprovalState.DEPLOYED: proposals.BuildState.BUILT,
    approvals.ApprovalState.DENIED: proposals.BuildState.CANCELLED,
    approvals.ApprovalState.FAILED: proposals.BuildState.FAILED,
    approvals.ApprovalState.EXPIRED: proposals.BuildState.CANCELLED,
}


def _proposal(
    approval: approvals.Approval,
    agent: agents.Agent,
    row: imports.OldApproval,
    tags: Sequence[ports.Tag],
    trees: Mapping[str, str],
) -> proposals.Proposal:
    by_kind = {tag.kind.value: tag for tag in tags}
    named = by_kind.get(approval.state.value) or next(iter(tags), None)
    sha = "" if named is None else named.sha
    final = by_kind.get(approval.state.value)
    return proposals.Proposal(
        approval=approval.id,
        agent_id=agent.id,
        origin=proposals.Origin.COMMIT,
        commit_ref=row.commit_ref[:40] or sha,
        sha=sha,
        tree=trees.get(sha, ""),
        base_sha="",
        build=_BUILDS[approval.state],
        build_note=approval.note.partition("\n")[0][:500]
        if approval.state is approvals.ApprovalState.FAILED
        else "",
        generation="",
        configuration={},
        effects={},
        step=proposals.DeployStep.NONE,
        epoch=0,
        deadline=None,
        expires_at=None,
        tag="" if final is None else final.name,
        changed_at=approval.changed_at,
    )


def _earliest(clock: ports.Clock, decided: datetime.datetime | None) -> datetime.datetime:
    return decided or clock.now()


def _party(name: str, parties: Mapping[str, agents.Agent]) -> tuple[ids.PartyId, str] | None:
    """Who is meant by an older name; None for nobody here."""
    if name in (ids.OPERATOR, ids.SYSTEM):
        return ids.PartyId(name), name
    agent = parties.get(name)
    if agent is None and name in imports.MANAGER_NAMES:
        # Mail was addressed to the role, directories were called otherwise.
        agent = next((a for a in parties.values() if a.role is agents.Role.MANAGER), None)
    return None if agent is None else (ids.PartyId(agent.id), agent.name)


def _name(text: str) -> str:
    """A name as it may be shown."""
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return f"{shown[: ids.NAME_MAX] or 'unknown'} (not here)"
