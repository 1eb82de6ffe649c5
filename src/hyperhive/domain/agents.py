"""An agent: a durable identity, what is wanted of it, and where its sandbox stands.

Life is level-triggered. People and tools change only ``wanted`` and ``epoch``;
the fleet loop compares them with ``phase`` and ``running_epoch`` and moves the
phase. A restart is a higher epoch, so two restarts asked for at once are one.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Final

from hyperhive.domain import ids

SLOTS_MAX: Final = 9_999
"""So many agents a hive can ever have: as root each has a host uid that is never used twice."""


class Role(enum.Enum):
    """What rights an agent's socket carries."""

    MANAGER = "manager"
    AGENT = "agent"


class Wanted(enum.Enum):
    """What the operator or the manager last asked for; survives a reboot."""

    RUNNING = "running"
    STOPPED = "stopped"


class Phase(enum.Enum):
    """Where the sandbox of an agent stands. Only the fleet loop writes it."""

    SPAWNING = "spawning"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    CRASHED = "crashed"
    HALTED = "halted"


class Move(enum.Enum):
    """What may happen to a sandbox, as seen by the fleet loop."""

    CREATE = "create"
    START = "start"
    STARTED = "note the start of"
    FAIL = "note the failure of"
    STOP = "stop"
    STOPPED = "note the stop of"
    EXITED = "note the exit of"
    GIVE_UP = "halt"


TABLE: Final[dict[tuple[Phase, Move], Phase]] = {
    (Phase.SPAWNING, Move.CREATE): Phase.STOPPED,
    (Phase.SPAWNING, Move.FAIL): Phase.CRASHED,
    (Phase.STOPPED, Move.START): Phase.STARTING,
    (Phase.CRASHED, Move.START): Phase.STARTING,
    (Phase.HALTED, Move.START): Phase.STARTING,
    (Phase.STARTING, Move.STARTED): Phase.RUNNING,
    (Phase.STARTING, Move.FAIL): Phase.CRASHED,
    # The daemon died while starting; whatever it started is found and ended first.
    (Phase.STARTING, Move.STOP): Phase.STOPPING,
    (Phase.RUNNING, Move.STOP): Phase.STOPPING,
    (Phase.RUNNING, Move.EXITED): Phase.CRASHED,
    (Phase.STOPPING, Move.STOPPED): Phase.STOPPED,
    (Phase.CRASHED, Move.STOPPED): Phase.STOPPED,
    (Phase.CRASHED, Move.GIVE_UP): Phase.HALTED,
    (Phase.HALTED, Move.STOPPED): Phase.STOPPED,
}

OWNERS: Final[dict[Phase, str]] = {
    Phase.SPAWNING: "fleet_loop",
    Phase.STOPPED: "fleet_loop",
    Phase.STARTING: "fleet_loop",
    Phase.RUNNING: "fleet_loop",
    Phase.STOPPING: "fleet_loop",
    Phase.CRASHED: "fleet_loop",
    Phase.HALTED: "operator",
}
"""Who moves each phase on (a test compares this with the table)."""


class TurnState(enum.Enum):
    """What the harness of an agent is doing, as it last reported."""

    OFFLINE = "offline"
    IDLE = "idle"
    THINKING = "thinking"
    COMPACTING = "compacting"
    RATE_LIMITED = "rate_limited"
    NEEDS_LOGIN = "needs_login"
    BACKING_OFF = "backing_off"
    PAUSED = "paused"


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxIdentity:
    """What proves that a process is the sandbox that we started.

    ``boot_id`` is /proc/sys/kernel/random/boot_id (proc(5)); ``pid`` is pid 1 of
    the sandbox as the host sees it; ``start_time`` is field 22 of
    /proc/PID/stat, in clock ticks since boot. A pid alone may be anybody's.
    """

    boot_id: str
    pid: int
    start_time: int


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """One agent's row. All ``…_at`` are aware UTC times."""

    id: ids.AgentId
    name: ids.AgentName
    role: Role
    slot: int
    """A small number never used twice; the host uid is ``uid_base + slot``."""
    created_at: datetime.datetime
    wanted: Wanted
    epoch: int
    """Grows with every start or restart that somebody asked for."""
    phase: Phase
    phase_since: datetime.datetime
    phase_note: str
    """Why the phase is what it is: an error, an exit code, who asked."""
    running_epoch: int
    """The epoch that the sandbox was started for; 0 before the first start and after a stop."""
    sandbox: SandboxIdentity | None
    crashes: int
    """Failures in a row; reset by ten healthy minutes or by a person."""
    retry_at: datetime.datetime | None
    """When a crashed agent is started again."""
    turn_state: TurnState
    turn_since: datetime.datetime
    turn_note: str
    status: str
    """What the agent last said of itself with `set_status`."""
    model: str
    session_id: str
    """The claude session, a UUID; empty before the first turn."""
    session_started: bool
    """Whether that session exists on disk (then it is resumed, not created)."""
    start_reason: str
    """Why the present start or restart was asked for; told to the agent by the kick."""
