"""Proposals: a commit that wants to become an agent's configuration, and how far it is.

One row beside each approval of the kinds APPLY_COMMIT and UPDATE_INPUTS. Three things
move on their own: the *approval* (a human's decision), the *build* (done before the
decision) and the *deploy* (after it). Each deploy step is idempotent and written down
before it is begun, so that a daemon that died goes on with the step that it finds.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any, Final

from hyperhive.domain import ids

HEALTH_SECONDS: Final = 60.0
"""How long a harness may take to answer after a switch, unless the host sets otherwise."""


class Origin(enum.Enum):
    """Where the commit comes from."""

    COMMIT = "commit"
    """Imported from the proposed repository."""
    ROLLBACK = "rollback"
    """Made by the daemon from an old deployed tag; nothing is imported."""
    REBUILD = "rebuild"
    """The deployed commit again, on the present inputs: no decision is needed (S26)."""
    INPUTS = "inputs"
    """No commit: newer inputs, named in ``configuration["inputs"]``; rebuilds follow (S90)."""


class BuildState(enum.Enum):
    """Where the build of a proposal stands."""

    IMPORTING = "importing"
    QUEUED = "queued"
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"
    CANCELLED = "cancelled"


class BuildMove(enum.Enum):
    """What may happen to a build."""

    IMPORTED = "note the import for"
    BEGIN = "begin"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"
    RESUME = "resume"
    """The daemon died in the middle."""


BUILD_TABLE: Final[dict[tuple[BuildState, BuildMove], BuildState]] = {
    (BuildState.IMPORTING, BuildMove.IMPORTED): BuildState.QUEUED,
    (BuildState.IMPORTING, BuildMove.FAIL): BuildState.FAILED,
    (BuildState.IMPORTING, BuildMove.CANCEL): BuildState.CANCELLED,
    (BuildState.QUEUED, BuildMove.BEGIN): BuildState.BUILDING,
    (BuildState.QUEUED, BuildMove.CANCEL): BuildState.CANCELLED,
    (BuildState.QUEUED, BuildMove.FAIL): BuildState.FAILED,
    (BuildState.BUILDING, BuildMove.FINISH): BuildState.BUILT,
    (BuildState.BUILDING, BuildMove.FAIL): BuildState.FAILED,
    (BuildState.BUILDING, BuildMove.CANCEL): BuildState.CANCELLED,
    (BuildState.BUILDING, BuildMove.RESUME): BuildState.QUEUED,
    # What it was built from is gone (collected): build it again.
    (BuildState.BUILT, BuildMove.RESUME): BuildState.QUEUED,
}

BUILD_OWNERS: Final[dict[BuildState, str]] = {
    BuildState.IMPORTING: "build_loop",
    BuildState.QUEUED: "build_loop",
    BuildState.BUILDING: "build_loop",
    # It waits for a decision; if what was built is gone by then, the deploy loop queues it again.
    BuildState.BUILT: "deploy_loop",
}
"""Who moves each state on; a test compares this with the table."""
UNDER_WAY: Final = frozenset({BuildState.IMPORTING, BuildState.QUEUED, BuildState.BUILDING})
"""Builds that somebody works on."""


class DeployStep(enum.Enum):
    """The next thing that the deploy loop does for a proposal; each is safe to repeat."""

    NONE = "none"
    """Nothing: no decision yet, or all is done and written down."""
    TAGGING = "tagging"
    """Pin approved/<id> and building/<id>, and stage meta's new lock entry."""
    SWITCHING = "switching"
    """Make the built generation the agent's on trial, and restart it."""
    CHECKING = "checking"
    """Wait until the harness answers from the new generation, or the time is over."""
    RECORDING = "recording"
    """The outcome stands in the store; git follows: tag first, main and meta last, then mail."""


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal. ``agent_id`` is also in the approval's row; kept here for queries."""

    approval: ids.ApprovalId
    agent_id: ids.AgentId
    origin: Origin
    commit_ref: str
    """As asked for: 7 to 40 hexadecimal digits, or the tag of a rollback."""
    sha: str
    """The full id of what is pinned as proposal/<id>; empty while importing."""
    tree: str
    base_sha: str
    """What was deployed when this was last shown; a deploy in between changes it and the digest."""
    build: BuildState
    build_note: str
    """One line: why it failed."""
    generation: str
    """What was built; empty before."""
    configuration: Mapping[str, Any]
    """`configuration.to_json` of the commit; empty before the build has read it."""
    effects: Mapping[str, Any]
    """What the change does, for the card (`services.effects`); empty before the build."""
    step: DeployStep
    epoch: int
    """The agent's epoch that the switch asked for; 0 when the agent is not wanted running."""
    deadline: datetime.datetime | None
    """When a trial that has not answered has failed."""
    expires_at: datetime.datetime | None
    tag: str
    """The final tag once git has it: deployed/<id>, failed/<id> or denied/<id>."""
    changed_at: datetime.datetime

    @property
    def is_built(self) -> bool:
        """Whether it can be approved and switched to."""
        return self.build is BuildState.BUILT
