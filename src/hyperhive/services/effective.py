"""Which configuration counts for an agent now, and what follows from it.

The deployment's row decides, and while a switch is on trial the proposal's. Everything that runs
with a configuration asks here: turn plans, sandboxes, the egress proxy, recipients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import agents, configuration, deployments, ids, proposals


@dataclasses.dataclass(frozen=True, slots=True)
class Effective:
    """What counts for one agent."""

    configuration: configuration.Configuration
    generation_id: ids.GenerationId | None
    """None: it runs in the base, without an environment of its own."""
    sha: str
    """The commit; empty before anything was ever deployed."""
    approval: ids.ApprovalId | None
    """The approval that put it there: 0 is the seed, None that there is none."""
    on_trial: bool = False


NOTHING: Final = Effective(configuration.Configuration(), None, "", None)


def current(tx: ports.ReadTx, agent: ids.AgentId) -> Effective:
    """What counts for *agent* now; the default where nothing was deployed.

    `HiveError` INVALID when what is stored cannot be read: running without the restrictions
    that it may hold would be worse than not running.
    """
    stored = _stored(tx, agent)
    if stored is None:
        return NOTHING
    return Effective(
        configuration.from_json(stored.configuration),
        ids.GenerationId(stored.generation) if stored.generation else None,
        stored.sha,
        stored.approval,
        isinstance(stored, proposals.Proposal),
    )


def recipients(tx: ports.ReadTx, agent: ids.AgentId) -> list[str] | None:
    """The names on the list of its configuration; None when there is no list.

    Asked for every call of every agent, so nothing else is read.
    """
    stored = _stored(tx, agent)
    if stored is None:
        return None
    configuration.require_schema(stored.configuration)
    return stored.configuration.get("recipients")


def _stored(
    tx: ports.ReadTx, agent: ids.AgentId
) -> deployments.Deployment | proposals.Proposal | None:
    """The row that counts: the proposal's while its switch is on trial."""
    deployed = tx.get_deployment(agent)
    if deployed is None or deployed.trial is None:
        return deployed
    return tx.get_proposal(deployed.trial) or deployed


def model(tx: ports.ReadTx, agent: agents.Agent, default: str) -> str:
    """The model of the agent's next turn: what was set for it, else its configuration's."""
    return agent.model or current(tx, agent.id).configuration.model or default


def hosts(tx: ports.ReadTx, agent: ids.AgentId, of_host: Sequence[str]) -> tuple[str, ...]:
    """The agent's allow-list: the host's entries and its configuration's."""
    return tuple(dict.fromkeys([*of_host, *current(tx, agent).configuration.allowed_hosts]))


def reach(
    store: ports.Store, of_host: Sequence[str]
) -> Callable[[ids.AgentId], Awaitable[tuple[str, ...]]]:
    """What the egress proxy asks at every connection of an agent."""

    async def allowed(agent: ids.AgentId) -> tuple[str, ...]:
        return await store.read(lambda tx: hosts(tx, agent, of_host))

    return allowed
