"""Why agents wait, and letting them go on: one place for every reason there is."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids
from hyperhive.services import (
    budgets,
    holding,
    holds,
    lookup,
    pauses,
    running,
    turn_state,
)
from hyperhive.wire import views

Json = dict[str, Any]


class Waits:
    """Lists what waits and lets it go on. *has_model*: whether any turn can run."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        purse: budgets.Budgets,
        has_model: Callable[[], bool],
    ) -> None:
        self._store = store
        self._clock = clock
        self._has_model = has_model
        self.budgets = purse

    async def listed(self) -> list[Json]:
        """Everything that waits now, with ``agent`` and its ``unread`` mail; null: the hive."""

        def look(tx: ports.ReadTx) -> list[Json]:
            now = views.timestamp(self._clock.now()) or ""
            return [
                {"agent": agent.name, "unread": tx.count_queued(ids.PartyId(agent.id))} | wait
                for agent in tx.list_agents()
                for wait in reasons(tx, agent)
                if wait["until"] is None or wait["until"] > now
            ]

        found = await self._store.read(look)
        if self._has_model():
            return found
        text = "there is no model: give an API key or a token on the page, or with: hive model"
        row = _wait("no_model", text, None, None, "model")
        return [{"agent": None, "unread": 0} | row, *found]

    async def go_on(self, caller: access.Caller, name: str) -> agents.Agent:
        """End every reason why an agent begins no turn; CONFLICT when there is none.

        A budget allows once more for today what it allows for a day; the other one of a loop
        goes on too.
        """
        access.require(caller, access.Right.OPERATOR, "let an agent go on")

        def work(tx: ports.Tx) -> agents.Agent:
            agent, now = lookup.require_named(tx, name), self._clock.now()
            ways = [wait["go_on"] for wait in reasons(tx, agent)]
            if "go-on" not in ways:
                why = f"it is {agent.phase.value}; start it" if ways else "nothing holds it"
                raise errors.conflict(f"cannot let {agent.name} go on: {why}")
            because = f"by {caller.name} on the {caller.via}"
            for hold in holds.found(tx, agent.id):
                if hold.reason is holds.Reason.BUDGET:
                    self.budgets.let_go(tx, hold)
                else:
                    holding.end(tx, now, ids.AgentId(hold.about), hold.reason, because)
                holding.end(tx, now, agent.id, hold.reason, because)
            pauses.end_by_operator(tx, agent.id)
            if pauses.is_running(tx, agent.id):
                pauses.end(tx, agent.id, now)
            self._show(tx, now, lookup.require_agent(tx, agent.id), because)
            return lookup.require_agent(tx, agent.id)

        return await self._store.write(work)

    def _show(
        self, tx: ports.Tx, now: datetime.datetime, agent: agents.Agent, because: str
    ) -> None:
        resting = running.find(tx, agent.id) is None
        if resting and agent.turn_state is not agents.TurnState.OFFLINE:
            turn_state.put(tx, now, agent, *pauses.resting_state(tx, agent.id, now))
        kind = events.EventKind.AGENT_LET_GO
        # What `take` waits for.
        topics = (events.agent_topic(agent.id),)
        tx.record(events.Event(kind, agent=agent.id, text=because, topics=topics))


def reasons(tx: ports.ReadTx, agent: agents.Agent) -> list[Json]:
    """Why *agent* begins no turn: ``reason``, ``text``, ``since``, ``until``, and ``go_on``.

    ``until`` null: until somebody does something. ``go_on`` is the verb that ends it. One that
    is past its ``until`` is over, and stands here until the agent's next turn.
    """
    found = [
        _wait(hold.reason.value, hold.text, hold.since, hold.until, "go-on")
        for hold in holds.found(tx, agent.id)
    ]
    paused = pauses.by_operator(tx, agent.id)
    if paused is not None:
        text = f"paused {paused['by']}" + (f": {paused['reason']}" if paused["reason"] else "")
        found.append(_wait("operator", text, None, None, "go-on") | {"since": paused["since"]})
    failed = None if running.find(tx, agent.id) else pauses.after_failure(tx, agent.id)
    if failed is not None:
        since = agent.turn_since
        found.append(_wait(failed.outcome.value, failed.note, since, failed.until, "go-on"))
    if agent.phase is agents.Phase.HALTED:
        found.append(_wait("halted", agent.phase_note, agent.phase_since, None, "start"))
    elif agent.phase is agents.Phase.CRASHED and agent.retry_at is not None:
        found.append(_wait("crashed", agent.phase_note, agent.phase_since, agent.retry_at, "start"))
    return found


def _wait(
    reason: str,
    text: str,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    go_on: str,
) -> Json:
    return {
        "reason": reason,
        "text": text,
        "since": views.timestamp(since),
        "until": views.timestamp(until),
        "go_on": go_on,
    }
