"""Turns: mail is leased to a turn, and the end of the turn decides what becomes of it.

The harness asks (`take`), the daemon answers when there is something to do: mail
is there or the session is to be compacted, the agent is wanted, a model credential
exists, and no pause is running. So an idle agent costs nothing, and nobody polls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import agents, errors, events, ids, messages, turns
from hyperhive.domain import sessions as session_rules
from hyperhive.services import (
    effective,
    holding,
    holds,
    lookup,
    named_secrets,
    pauses,
    plans,
    posting,
    running,
    sessions,
    turn_control,
    turn_ends,
    turn_state,
    waiting,
)
from hyperhive.services.plans import TurnSettings
from hyperhive.services.turn_ends import FinishReport
from hyperhive.wire import agent_protocol

__all__ = ["FinishReport", "TurnSettings", "Turns"]

MAIL_ONLY: Final = frozenset({turns.TurnKind.MAIL})


class Turns:
    """Everything that a harness asks of the daemon about turns.

    *credential* says what the gateway adds on the way out, "api_key" or "token", and is empty
    while there is none: then no turn begins. *run_id* is random per run of the daemon. *secrets*
    gives plans the values that configurations name; without it there are none. *before_turn*
    may hold an agent (`holds`), in the transaction that would begin its turn.
    """

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        settings: TurnSettings,
        credential: Callable[[], str],
        run_id: str,
        secrets: named_secrets.NamedSecrets | None = None,
        before_turn: holding.BeforeTurn | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._credential = credential
        self._planner = plans.Planner(settings, credential, secrets)
        self._run_id = run_id
        self._before_turn = before_turn
        self.control: Final = turn_control.TurnControl(store, clock)

    async def hello(self, agent_id: ids.AgentId, boot: str) -> dict[str, Any]:
        """Greet a harness; a turn of an earlier one of this agent is lost and its mail returns."""

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_agent(tx, agent_id)
            current = running.find(tx, agent_id)
            if current is not None and current.boot != boot:
                turn_ends.lose(tx, self._clock.now(), agent, "the harness was started again")
            agent = lookup.require_agent(tx, agent_id)
            lost = current is not None and current.boot != boot
            if lost or agent.turn_state is agents.TurnState.OFFLINE:
                self._rest(tx, agent_id)
            return agent

        agent = await self._store.write(work)
        return {
            "protocol": agent_protocol.PROTOCOL,
            "agent": {"id": agent.id, "name": agent.name, "role": agent.role.value},
            "hive": self._settings.hive,
            "daemon": self._run_id,
        }

    async def take(
        self, agent_id: ids.AgentId, boot: str, kinds: frozenset[turns.TurnKind] = MAIL_ONLY
    ) -> dict[str, Any]:
        """Return the plan of the next turn; parks without limit until there is one.

        *kinds* are the kinds of turns that this harness knows.
        """
        while True:
            number = self._store.number()
            pause = await self._store.read(
                lambda tx: self._pause_before_turn(tx, agent_id, boot, kinds)
            )
            if pause is None:
                begun = await self._store.write(lambda tx: self._begin(tx, agent_id, boot, kinds))
                if begun is not None:
                    return await self._planner.complete(begun)
                pause = float("inf")
            waits = [
                self._store.changed(events.inbox_topic(ids.PartyId(agent_id)), number),
                self._store.changed(events.SETTINGS, number),
                self._store.changed(events.agent_topic(agent_id), number),
            ]
            if pause != float("inf"):
                waits.append(self._sleep(pause))
            await waiting.first(*waits)

    async def session_exists(self, agent_id: ids.AgentId, turn: ids.TurnId, session: str) -> None:
        """Note that the session is on disk, so that the next turn resumes it."""

        def work(tx: ports.Tx) -> None:
            agent = lookup.require_agent(tx, agent_id)
            row = tx.get_turn(turn)
            if row is None or row.agent != agent_id:
                raise errors.not_found(f"cannot note a session: no turn {turn} of {agent.name}")
            if agent.session_id != session or not agent.session_started:
                tx.update_agent(
                    dataclasses.replace(agent, session_id=session, session_started=True)
                )

        await self._store.write(work)

    async def finish(
        self,
        agent_id: ids.AgentId,
        turn: ids.TurnId,
        report: FinishReport,
        unheard: Sequence[str] = (),
    ) -> None:
        """End a turn: settle or return its mail. Saying it twice is harmless.

        *unheard* are the keys of receives that were ended without an answer: what they had
        leased by then nobody has read, so it goes back however the turn ended.
        """
        if report.outcome is turns.Outcome.RUNNING or report.outcome is turns.Outcome.LOST:
            raise errors.invalid(f"cannot finish a turn as {report.outcome.value}")

        def work(tx: ports.Tx) -> None:
            agent = lookup.require_agent(tx, agent_id)
            row = tx.get_turn(turn)
            if row is None or row.agent != agent_id:
                raise errors.not_found(f"cannot finish: no turn {turn} of {agent.name}")
            if row.outcome is not turns.Outcome.RUNNING:
                return
            posting.give_back_unheard(tx, self._clock.now(), turn, unheard)
            turn_ends.end(tx, self._clock.now(), agent, row, report, self._settings.compact_at)
            self._rest(tx, agent_id)

        await self._store.write(work)

    async def report_state(self, agent_id: ids.AgentId, state: agents.TurnState, note: str) -> None:
        """Note what the harness is doing; unchanged reports write nothing."""

        def work(tx: ports.Tx) -> None:
            agent = lookup.require_agent(tx, agent_id)
            if agent.turn_state is not state or agent.turn_note != note:
                self._set_state(tx, agent, state, note)

        await self._store.write(work)

    async def orders(self, agent_id: ids.AgentId, turn: ids.TurnId) -> str:
        """Park until there is an order for *turn*: "interrupt", or "none" once it is over."""

        def look(tx: ports.ReadTx) -> str:
            if running.is_interrupt_asked(tx, agent_id, turn):
                return "interrupt"
            current = running.find(tx, agent_id)
            return "" if current is not None and current.turn == turn else "none"

        while True:
            number = self._store.number()
            order = await self._store.read(look)
            if order:
                return order
            await self._store.changed(events.orders_topic(agent_id), number)

    # --- inside transactions -----------------------------------------------------------

    def lose_in(self, tx: ports.Tx, agent: agents.Agent, note: str, *, blame: bool) -> None:
        """In a transaction: the sandbox of *agent* ended; its turn is lost, its mail returns.

        *blame* says that the mail itself may have ended it (see `posting.give_back`). A pause
        ends too: whoever starts the agent again wants it to try again.
        """
        turn_ends.lose(tx, self._clock.now(), agent, note, blame=blame)
        pauses.clear(tx, agent.id)
        self._set_state(tx, lookup.require_agent(tx, agent.id), agents.TurnState.OFFLINE, "")

    def _pause_before_turn(
        self,
        tx: ports.ReadTx,
        agent_id: ids.AgentId,
        boot: str,
        kinds: frozenset[turns.TurnKind],
    ) -> float | None:
        """Seconds until a turn may begin; infinity until something changes; None for now."""
        agent = lookup.require_agent(tx, agent_id)
        current = running.find(tx, agent_id)
        if current is not None and current.boot == boot:
            return None
        if agent.wanted is not agents.Wanted.RUNNING or not self._credential():
            return float("inf")
        if pauses.by_operator(tx, agent_id) is not None:
            return float("inf")
        held = holds.seconds_left(tx, agent_id, self._clock.now())
        if held is not None:
            # Over by its time: `_begin` ends it, also when there is nothing to do.
            return held or None
        if self._next(tx, agent, kinds) is None:
            return float("inf")
        return pauses.seconds_left(tx, agent_id, self._clock.now())

    def _next(
        self, tx: ports.ReadTx, agent: agents.Agent, kinds: frozenset[turns.TurnKind]
    ) -> session_rules.Next | None:
        return sessions.next_turn(tx, agent, share=self._settings.compact_at, kinds=kinds)

    def _begin(
        self,
        tx: ports.Tx,
        agent_id: ids.AgentId,
        boot: str,
        kinds: frozenset[turns.TurnKind],
    ) -> plans.Begun | None:
        agent = lookup.require_agent(tx, agent_id)
        current = running.find(tx, agent_id)
        if current is not None and current.boot == boot:
            row = tx.get_turn(current.turn)
            assert row is not None
            # Only what the turn began with: what `recv` took since was answered there.
            first = None if current.message is None else tx.get_message(current.message)
            return self._planner.begin(tx, agent, row, [first] if first is not None else [])
        if current is not None:
            turn_ends.lose(tx, self._clock.now(), agent, "another harness took over")
            agent = lookup.require_agent(tx, agent_id)
        now = self._clock.now()
        holding.end_expired(tx, now, agent_id)
        agent = lookup.require_agent(tx, agent_id)
        following = self._next(tx, agent, kinds)
        if following is None or pauses.by_operator(tx, agent_id) is not None:
            return None
        if holding.stops_turn(tx, now, agent, self._before_turn):
            return None
        turn_id = ids.new_turn_id()
        leased: list[messages.Message] = []
        if following.kind is turns.TurnKind.MAIL:
            leased = tx.lease_messages(ids.PartyId(agent_id), turn_id, now, 1)
            if not leased:
                return None
            agent = sessions.begin(tx, now, agent, turn_id)
        row = turns.Turn(
            id=turn_id,
            agent=agent_id,
            started_at=now,
            ended_at=None,
            outcome=turns.Outcome.RUNNING,
            note="",
            woke_by=sessions.WORDS[following.why] if following.why else leased[0].sender_name,
            model=effective.model(tx, agent, self._settings.model),
            tool_calls=0,
            usage=turns.Usage(),
            kind=following.kind,
        )
        tx.insert_turn(row)
        first_id = leased[0].id if leased else None
        fresh = not agent.session_started
        running.put(tx, agent_id, running.Running(turn_id, boot, first_id, following.why, fresh))
        for message in leased:
            tx.record(
                events.Event(
                    events.EventKind.MESSAGE_LEASED,
                    agent=agent_id,
                    message=message.id,
                    turn=turn_id,
                )
            )
        tx.record(events.Event(events.EventKind.TURN_STARTED, agent=agent_id, turn=turn_id))
        if following.why is None:
            self._set_state(tx, agent, agents.TurnState.THINKING, "")
        else:
            self._set_state(tx, agent, agents.TurnState.COMPACTING, row.woke_by)
        return self._planner.begin(tx, agent, row, leased)

    def _rest(self, tx: ports.Tx, agent_id: ids.AgentId) -> None:
        """Show what the agent does now that no turn of it runs."""
        state, note = pauses.resting_state(tx, agent_id, self._clock.now())
        self._set_state(tx, lookup.require_agent(tx, agent_id), state, note)

    def _set_state(
        self, tx: ports.Tx, agent: agents.Agent, state: agents.TurnState, note: str
    ) -> None:
        turn_state.put(tx, self._clock.now(), agent, state, note)

    async def _sleep(self, seconds: float) -> int:
        await self._clock.sleep(seconds)
        return 0


def is_pausing(tx: ports.ReadTx, agent: ids.AgentId) -> bool:
    """Whether the agent waits after a failed turn before it begins the next one."""
    return running.find(tx, agent) is None and pauses.is_running(tx, agent)
