"""What is brought over from the older hyperhive (S47), as its own words say it.

Nothing here is trusted more than a stranger's letter: names are checked, texts are shown as
quotations, and a number that cannot be read is said to be so.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Final

from hyperhive.domain import approvals, ids

MANAGER_NAMES: Final = ("hm1nd", "ruth", "manager")
"""What the older system has called the manager's directories, and our word for it."""


class Layout(enum.Enum):
    """Which of its layouts an older home has; each has what the one before has, and more."""

    FLAKES = "flakes"
    """A flake for each agent in ``applied/<name>``, which has no tags."""
    TAGS = "tags"
    """Tags in ``applied/<name>`` tell what became of each approval."""
    META = "meta"
    """One repository ``meta`` pins what every agent runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class OldMessage:
    """A message that nobody has handled."""

    id: int
    sender: str
    recipient: str
    body: str
    sent_at: datetime.datetime | None
    """None: not readable."""


@dataclasses.dataclass(frozen=True, slots=True)
class OldApproval:
    """A row of the queue, or, with ``kind`` empty, one that only tags tell of."""

    id: int
    agent: str
    kind: str
    commit_ref: str
    status: str
    note: str
    description: str
    requested_at: datetime.datetime | None
    decided_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class OldMail:
    """What the older broker's database holds, as far as it was understood."""

    messages: tuple[OldMessage, ...]
    approvals: tuple[OldApproval, ...]
    left: Mapping[str, int]
    """Rows that are not brought over, by what they are."""


@dataclasses.dataclass(slots=True)
class Brought:
    """How it went for one agent."""

    old: str
    name: str = ""
    id: str = ""
    has: list[str] = dataclasses.field(default_factory=list[str])
    """What there is of it: applied, config, state, claude."""
    live: bool = False
    deployed: str = ""
    """The commit that runs; empty: it begins with a new configuration."""
    tags: int = 0
    files: int = 0
    left: list[str] = dataclasses.field(default_factory=list[str])
    problems: list[str] = dataclasses.field(default_factory=list[str])


@dataclasses.dataclass(slots=True)
class Outcome:
    """How it went altogether, as `hive import --json` prints it."""

    source: str
    home: str
    layout: str
    state: str
    """``planned``, ``imported``, ``incomplete`` or ``already imported``."""
    database: bool = False
    """Whether there is one to take approvals and mail from."""
    agents: list[Brought] = dataclasses.field(default_factory=list[Brought])
    messages: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    approvals: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    left: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    """What was not brought over, by what it is, and how much."""
    problems: list[str] = dataclasses.field(default_factory=list[str])

    @property
    def is_complete(self) -> bool:
        """Whether nothing failed."""
        return not self.problems and not any(agent.problems for agent in self.agents)

    def told(self) -> list[str]:
        """Everything that failed, a sentence each."""
        return [
            *self.problems,
            *(f"{agent.old}: {said}" for agent in self.agents for said in agent.problems),
        ]


KINDS: Final[Mapping[str, approvals.ApprovalKind]] = {
    "spawn": approvals.ApprovalKind.SPAWN,
    "apply_commit": approvals.ApprovalKind.APPLY_COMMIT,
}
"""The older kinds that have a counterpart here."""


def outcome(
    status: str, tags: frozenset[str], *, spawned: bool
) -> tuple[approvals.ApprovalState, str]:
    """What became of an approval, and a note where the older row says less than we must.

    *tags* are the kinds of the tags that name it: git's word counts for what was deployed. What
    was under way or waited is over: a decision about something that nobody has built and shown
    here would not be one (S38).
    """
    for kind, state in _FINAL.items():
        if kind in tags:
            return state, ""
    if status == "approved" and spawned:
        return approvals.ApprovalState.DEPLOYED, ""
    if status == "denied":
        return approvals.ApprovalState.DENIED, ""
    if status == "approved":
        return approvals.ApprovalState.FAILED, "its deploy had not ended when the hive was imported"
    if status == "failed":
        return approvals.ApprovalState.FAILED, ""
    return approvals.ApprovalState.EXPIRED, "it waited when the hive was imported; ask again"


_FINAL: Final = {
    "deployed": approvals.ApprovalState.DEPLOYED,
    "failed": approvals.ApprovalState.FAILED,
    "denied": approvals.ApprovalState.DENIED,
}


def message_key(number: int) -> str:
    """The idempotency key of an imported message: however often, it is brought over once."""
    return f"import:{number}"


def new_name(old: str, manager: str, renamed: Mapping[str, str]) -> ids.AgentName:
    """What the agent is called here; `HiveError` INVALID when that is no name."""
    if old == manager:
        return ids.MANAGER_NAME
    return ids.parse_agent_name(renamed.get(old, old))
