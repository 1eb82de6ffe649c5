"""The one next step, for every phase and every want: nothing is left without one."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hyperhive.domain import agents, ids
from hyperhive.runtime.steps import Step, next_step

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
LATER = NOW + datetime.timedelta(seconds=60)


def _agent(phase: agents.Phase, wanted: agents.Wanted, **changes: object) -> agents.Agent:
    agent = agents.Agent(
        id=ids.AgentId("0" * 12), name=ids.AgentName("bob"), role=agents.Role.AGENT, slot=1,
        created_at=NOW, wanted=wanted, epoch=3, phase=phase, phase_since=NOW, phase_note="",
        running_epoch=3, sandbox=None, crashes=0, retry_at=None,
        turn_state=agents.TurnState.OFFLINE, turn_since=NOW, turn_note="", status="", model="",
        session_id="", session_started=False, start_reason="",
    )  # fmt: skip
    return dataclasses.replace(agent, **changes)


@pytest.mark.parametrize(
    ("phase", "when_wanted", "when_not"),
    [
        (agents.Phase.SPAWNING, Step.CREATE, Step.CREATE),
        (agents.Phase.STOPPED, Step.START, Step.REST),
        (agents.Phase.STARTING, Step.STOP, Step.STOP),
        (agents.Phase.RUNNING, Step.REST, Step.STOP),
        (agents.Phase.STOPPING, Step.STOP, Step.STOP),
        (agents.Phase.CRASHED, Step.START, Step.STOP),
        (agents.Phase.HALTED, Step.REST, Step.STOP),
    ],
)
def test_every_phase_has_a_next_step(phase, when_wanted, when_not):
    assert next_step(_agent(phase, agents.Wanted.RUNNING), NOW) is when_wanted
    assert next_step(_agent(phase, agents.Wanted.STOPPED), NOW) is when_not


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        (agents.Phase.RUNNING, Step.STOP),
        (agents.Phase.STOPPED, Step.START),
        (agents.Phase.CRASHED, Step.START),
        (agents.Phase.HALTED, Step.START),
    ],
)
def test_a_newer_epoch_is_a_restart_also_out_of_backoff_and_halt(phase, step):
    agent = _agent(phase, agents.Wanted.RUNNING, epoch=4, retry_at=LATER)
    assert next_step(agent, NOW) is step


def test_a_crashed_agent_waits_for_its_retry():
    agent = _agent(agents.Phase.CRASHED, agents.Wanted.RUNNING, retry_at=LATER)
    assert next_step(agent, NOW) is Step.REST
    assert next_step(agent, LATER) is Step.START


def test_every_step_has_an_edge_in_the_table():
    edges = {phase for phase, _ in agents.TABLE}
    assert edges == set(agents.Phase)
