"""What the operator may want of an agent's turns: another model, a shorter or new session, a pause.

Each verb only writes down what is wanted; the next look of `Turns.take` obeys it. So none needs a
harness that answers, and all survive a restart of anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids
from hyperhive.domain import sessions as rules
from hyperhive.services import (
    configuration_values,
    lookup,
    pauses,
    running,
    sessions,
    turn_state,
)

DEFAULT_MODEL: Final = "default"
"""As a model's name: that of the agent's configuration, else the hive's."""
REASON_MAX: Final = 500


class TurnControl:
    """The operator's verbs about turns."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def set_model(self, caller: access.Caller, name: str, model: str) -> agents.Agent:
        """Let the agent's turns use *model* from the next one on; "default" takes it back."""
        access.require(caller, access.Right.OPERATOR, "set an agent's model")
        chosen = ""
        if model != DEFAULT_MODEL:
            try:
                chosen = configuration_values.model(model)
            except configuration_values.Wrong as wrong:
                raise errors.invalid(
                    f"cannot set the model {model[:120]!r}: use {wrong}, or {DEFAULT_MODEL!r}"
                ) from wrong

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            tx.update_agent(dataclasses.replace(agent, model=chosen))
            self._note(tx, caller, agent, events.EventKind.MODEL_SET, chosen or DEFAULT_MODEL)

        return await self._change(name, work)

    async def compact(self, caller: access.Caller, name: str) -> agents.Agent:
        """Make the session shorter as soon as no turn runs; CONFLICT when there is none."""
        access.require(caller, access.Right.OPERATOR, "compact a session")

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            session = sessions.load(tx, agent.id)
            if session.renew is not None:
                raise errors.conflict(
                    f"cannot compact the session of {agent.name}: its next turn begins a new one"
                )
            if not agent.session_started and running.find(tx, agent.id) is None:
                raise errors.conflict(
                    f"cannot compact the session of {agent.name}: it has none yet"
                )
            sessions.save(tx, agent.id, rules.ask_compaction(session))
            self._note(tx, caller, agent, events.EventKind.TURN_COMPACTION_ASKED)

        return await self._change(name, work)

    async def new_session(self, caller: access.Caller, name: str) -> agents.Agent:
        """Let the next turn with mail begin a new session; those after it go on with that."""
        access.require(caller, access.Right.OPERATOR, "begin a new session")

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            sessions.save(tx, agent.id, rules.ask_new(sessions.load(tx, agent.id)))
            self._note(tx, caller, agent, events.EventKind.TURN_SESSION_ASKED)

        return await self._change(name, work)

    async def pause(self, caller: access.Caller, name: str, reason: str = "") -> agents.Agent:
        """Let the agent begin no more turns; one that runs goes on. Its mail stays queued."""
        access.require(caller, access.Right.OPERATOR, "pause an agent")
        if len(reason) > REASON_MAX:
            raise errors.invalid(
                f"cannot pause {name[:64]}: the reason has more than {REASON_MAX} characters"
            )

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            if pauses.by_operator(tx, agent.id) is not None:
                raise errors.conflict(f"cannot pause {agent.name}: it is paused already")
            by = f"by {caller.name} on the {caller.via}"
            pauses.put_by_operator(tx, agent.id, self._clock.now(), by, reason)
            self._note(tx, caller, agent, events.EventKind.TURNS_PAUSED, reason)
            self._show(tx, agent)

        return await self._change(name, work)

    async def resume(self, caller: access.Caller, name: str) -> agents.Agent:
        """End the operator's pause; CONFLICT when there is none."""
        access.require(caller, access.Right.OPERATOR, "resume an agent")

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            if pauses.by_operator(tx, agent.id) is None:
                raise errors.conflict(f"cannot resume {agent.name}: it is not paused")
            pauses.end_by_operator(tx, agent.id)
            self._note(tx, caller, agent, events.EventKind.TURNS_RESUMED)
            self._show(tx, agent)

        return await self._change(name, work)

    async def interrupt(self, caller: access.Caller, name: str) -> agents.Agent:
        """Ask the running turn of an agent to stop now; CONFLICT when none is running."""
        access.require(caller, access.Right.OPERATOR, "interrupt a turn")

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            current = running.find(tx, agent.id)
            if current is None:
                raise errors.conflict(f"cannot interrupt {agent.name}: no turn is running")
            running.ask_interrupt(tx, agent.id, current.turn)
            tx.record(
                events.Event(
                    events.EventKind.TURN_INTERRUPT_ASKED,
                    agent=agent.id,
                    turn=current.turn,
                    text=f"by {caller.name} on the {caller.via}",
                    topics=(events.orders_topic(agent.id),),
                )
            )

        return await self._change(name, work)

    async def retry(self, caller: access.Caller, name: str) -> agents.Agent:
        """End an agent's pause after a failed turn, so that it tries again now; else CONFLICT."""
        access.require(caller, access.Right.OPERATOR, "end a pause")

        def work(tx: ports.Tx, agent: agents.Agent) -> None:
            if running.find(tx, agent.id) is not None or not pauses.is_running(tx, agent.id):
                raise errors.conflict(
                    f"cannot retry {agent.name}: it does not pause after a failed turn "
                    "(a turn tries by itself)"
                )
            pauses.end(tx, agent.id, self._clock.now())
            self._note(tx, caller, agent, events.EventKind.TURN_RETRY_ASKED)
            self._show(tx, agent)

        return await self._change(name, work)

    async def _change(
        self, name: str, work: Callable[[ports.Tx, agents.Agent], None]
    ) -> agents.Agent:
        def change(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_named(tx, name)
            work(tx, agent)
            return lookup.require_agent(tx, agent.id)

        return await self._store.write(change)

    def _note(
        self,
        tx: ports.Tx,
        caller: access.Caller,
        agent: agents.Agent,
        kind: events.EventKind,
        text: str = "",
    ) -> None:
        said = f"{text}, " if text else ""
        tx.record(
            events.Event(
                kind,
                agent=agent.id,
                text=f"{said}by {caller.name} on the {caller.via}",
                # What `take` waits for.
                topics=(events.inbox_topic(ids.PartyId(agent.id)),),
            )
        )

    def _show(self, tx: ports.Tx, agent: agents.Agent) -> None:
        """Show what an agent without a turn does now; a turn and a dead sandbox show themselves."""
        if agent.turn_state is agents.TurnState.OFFLINE or running.find(tx, agent.id) is not None:
            return
        now = self._clock.now()
        turn_state.put(tx, now, agent, *pauses.resting_state(tx, agent.id, now))
