"""To whom an agent may write: to everybody, or to those on its list (S4).

What the operator set for the agent counts, else its configuration's list.
The manager and the operator can be reached by all, whatever a list says: an agent that
nobody hears could not even say that it is stuck.
"""

from __future__ import annotations

from hyperhive import ports
from hyperhive.domain import access, agents, errors, ids
from hyperhive.services import effective


def allowed(tx: ports.ReadTx, agent: ids.AgentId) -> list[ids.AgentId] | None:
    """The agents on the list of *agent*; None when it may write to everybody.

    Names of a configuration that nobody has yet are left out; they count once somebody has them.
    """
    own: list[ids.AgentId] | None = tx.get_value(_key(agent))
    if own is not None:
        return own
    configured = effective.recipients(tx, agent)
    if configured is None:
        return None
    found = [tx.find_agent(name) for name in configured]
    return [other.id for other in found if other is not None]


def names(tx: ports.ReadTx, agent: ids.AgentId) -> list[str] | None:
    """The same by name, in order."""
    listed = allowed(tx, agent)
    if listed is None:
        return None
    found = [tx.get_agent(other) for other in listed]
    return sorted(other.name for other in found if other is not None)


def put(tx: ports.Tx, agent: ids.AgentId, listed: list[ids.AgentId] | None) -> None:
    """Set the list of *agent*; None lets it write to all that its configuration allows."""
    if listed is None:
        tx.delete_value(_key(agent))
    else:
        tx.put_value(_key(agent), listed)


def may_write(caller: access.Caller, recipient: agents.Agent) -> bool:
    """Whether *caller* may write to that agent."""
    if caller.recipients is None or recipient.role is agents.Role.MANAGER:
        return True
    return recipient.id in caller.recipients


def require(tx: ports.ReadTx, caller: access.Caller, recipient: agents.Agent) -> None:
    """Raise `HiveError` FORBIDDEN unless *caller* may write to that agent."""
    if not may_write(caller, recipient):
        listed = names(tx, caller.agent_id) or []
        raise errors.forbidden(
            f"cannot send to {recipient.name}: you may write to "
            f"{', '.join([*listed, 'manager', 'operator'])}; ask one of them to pass it on"
        )


def _key(agent: ids.AgentId) -> str:
    return f"recipients:{agent}"
