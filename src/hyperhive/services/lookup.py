"""Finding rows, or refusing in the same words everywhere."""

from __future__ import annotations

from hyperhive import ports
from hyperhive.domain import agents, errors, ids


def require_agent(tx: ports.ReadTx, agent_id: ids.AgentId) -> agents.Agent:
    """The agent's row, or NOT_FOUND."""
    agent = tx.get_agent(agent_id)
    if agent is None:
        raise errors.not_found(f"cannot find agent {agent_id}: it does not exist any more")
    return agent


def require_named(tx: ports.ReadTx, name: str) -> agents.Agent:
    """The row of the agent of that name, or NOT_FOUND."""
    agent = tx.find_agent(name)
    if agent is None:
        raise errors.not_found(f"cannot find agent {name[:64]!r}: there is none of that name")
    return agent
