"""What to do next for an agent: a pure function of its row and the time."""

from __future__ import annotations

import datetime
import enum

from hyperhive.domain import agents


class Step(enum.Enum):
    """What to do next for an agent."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    REST = "rest"


def next_step(agent: agents.Agent, now: datetime.datetime) -> Step:
    """The one next step that brings *agent* nearer to what is wanted."""
    phase, wanted = agent.phase, agent.wanted is agents.Wanted.RUNNING
    if phase is agents.Phase.SPAWNING:
        return Step.CREATE
    if phase is agents.Phase.STARTING or phase is agents.Phase.STOPPING:
        # Only an earlier daemon can have left these behind: end what it started, then go on.
        return Step.STOP
    if phase is agents.Phase.RUNNING:
        return Step.REST if wanted and agent.epoch == agent.running_epoch else Step.STOP
    if phase is agents.Phase.STOPPED:
        return Step.START if wanted else Step.REST
    if not wanted:
        return Step.STOP
    if agent.epoch != agent.running_epoch:
        return Step.START
    if phase is agents.Phase.CRASHED and (agent.retry_at is None or agent.retry_at <= now):
        return Step.START
    return Step.REST
