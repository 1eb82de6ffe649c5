"""Who is calling, and what that grants.

The edge that accepted the connection decides who the caller is: the socket for
agents, the signed-in session or the admin socket for the operator. Nothing in
a request body ever does.
"""

from __future__ import annotations

import dataclasses
import enum

from hyperhive.domain import agents, errors, ids


class Right(enum.Enum):
    """What an action asks of its caller."""

    OPERATOR = "operator"
    MANAGER = "manager"
    AGENT = "agent"


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """An identified caller.

    ``party`` is who mail from this caller comes from; ``role`` is None for the
    operator and the system; ``via`` says where it came from ("page", "admin
    socket", "agent socket", "daemon") for the record.
    """

    party: ids.PartyId
    name: str
    role: agents.Role | None
    via: str
    recipients: frozenset[ids.AgentId] | None = None
    """The agents that this one may write to besides the manager; None is everybody (S4)."""

    @property
    def is_operator(self) -> bool:
        """Whether this is the human."""
        return self.party == ids.OPERATOR

    @property
    def agent_id(self) -> ids.AgentId:
        """The calling agent's id; `HiveError` FORBIDDEN when the caller is not an agent."""
        if self.role is None:
            raise errors.forbidden(f"cannot act as an agent: the caller is the {self.name}")
        return ids.AgentId(self.party)


def operator(via: str) -> Caller:
    """The human, having come in by *via*."""
    return Caller(ids.OPERATOR, "operator", None, via)


SYSTEM_CALLER = Caller(ids.SYSTEM, "system", None, "daemon")


def require(caller: Caller, right: Right, doing: str) -> None:
    """Raise `HiveError` FORBIDDEN unless *caller* holds *right*; the operator may do all."""
    if caller.is_operator or caller.party == ids.SYSTEM:
        return
    if right is Right.AGENT and caller.role is not None:
        return
    if right is Right.MANAGER and caller.role is agents.Role.MANAGER:
        return
    raise errors.forbidden(f"cannot {doing}: only the {right.value} may, and you are {caller.name}")
