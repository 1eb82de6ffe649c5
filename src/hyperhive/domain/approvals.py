"""Approvals: what an agent asked for and a human decides.

The table is the whole life of an approval. What is absent is a rule: nothing
leads from DENIED, WITHDRAWN, EXPIRED or FAILED back to life; a second try is a
second approval. A decision names exactly what was shown (``seen``).
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Final

from hyperhive.domain import ids

NOTE_MAX: Final = 4000
DESCRIPTION_MAX: Final = 4000


class ApprovalKind(enum.Enum):
    """What is asked for."""

    SPAWN = "spawn"
    APPLY_COMMIT = "apply_commit"
    """A commit that wants to become an agent's configuration; `domain.proposals` has the rest."""
    REBUILD = "rebuild"
    """Kept for the record only: a rebuild needs no decision and begins as approved (S24)."""
    UPDATE_INPUTS = "update_inputs"
    """Newer versions of what all configurations are built from; asked for by an agent."""


class ApprovalState(enum.Enum):
    """Where one approval stands."""

    PENDING = "pending"
    APPROVED = "approved"
    BUILDING = "building"
    DEPLOYED = "deployed"
    FAILED = "failed"
    DENIED = "denied"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Decision(enum.Enum):
    """What may happen to an approval."""

    APPROVE = "approve"
    DENY = "deny"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    BUILD = "build"
    DEPLOY = "deploy"
    FAIL = "fail"
    RESUME = "resume"


TABLE: Final[dict[tuple[ApprovalState, Decision], ApprovalState]] = {
    (ApprovalState.PENDING, Decision.APPROVE): ApprovalState.APPROVED,
    (ApprovalState.PENDING, Decision.DENY): ApprovalState.DENIED,
    (ApprovalState.PENDING, Decision.WITHDRAW): ApprovalState.WITHDRAWN,
    (ApprovalState.PENDING, Decision.EXPIRE): ApprovalState.EXPIRED,
    # It could not be imported or built: there is nothing left to decide.
    (ApprovalState.PENDING, Decision.FAIL): ApprovalState.FAILED,
    (ApprovalState.APPROVED, Decision.BUILD): ApprovalState.BUILDING,
    (ApprovalState.BUILDING, Decision.DEPLOY): ApprovalState.DEPLOYED,
    (ApprovalState.BUILDING, Decision.FAIL): ApprovalState.FAILED,
    # The daemon died in the middle; the approval still stands.
    (ApprovalState.BUILDING, Decision.RESUME): ApprovalState.APPROVED,
}

OWNERS: Final[dict[ApprovalState, str]] = {
    ApprovalState.PENDING: "operator",
    # A spawn; the deploy loop for the other kinds.
    ApprovalState.APPROVED: "fleet_loop",
    ApprovalState.BUILDING: "fleet_loop",
}

LIVE: Final = frozenset({ApprovalState.PENDING, ApprovalState.APPROVED, ApprovalState.BUILDING})


@dataclasses.dataclass(frozen=True, slots=True)
class Approval:
    """One approval. ``digest`` identifies exactly what the operator is shown."""

    id: ids.ApprovalId
    kind: ApprovalKind
    agent_name: ids.AgentName
    agent_id: ids.AgentId | None
    """Filled in when the spawn has made the agent."""
    description: str
    """Why, in the requester's words; shown as a quotation."""
    requested_by: ids.PartyId
    requested_by_name: str
    requested_at: datetime.datetime
    state: ApprovalState
    digest: str
    decided_by: str
    decided_via: str
    decided_at: datetime.datetime | None
    note: str
    """The operator's note when denying; the error when failed."""
    changed_at: datetime.datetime
