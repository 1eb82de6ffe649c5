"""Turns: mail is leased to a turn, and the end of the turn decides what becomes of it.

The harness asks (`take`), the daemon answers when there is something to do: mail
is there, the agent is wanted, a model credential exists, and no pause after a
failure is running. So an idle agent costs nothing, and nobody polls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids, turns
from hyperhive.services import (
    effective,
    lookup,
    named_secrets,
    pauses,
    plans,
    posting,
    turn_state,
    waiting,
)
from hyperhive.services.plans import TurnSettings
from hyperhive.wire import agent_protocol

__all__ = ["FinishReport", "TurnSettings", "Turns"]


@dataclasses.dataclass(frozen=True, slots=True)
class FinishReport:
    """What a harness says at the end of a turn."""

    outcome: turns.Outcome
    note: str = ""
    tool_calls: int = 0
    usage: turns.Usage = dataclasses.field(default_factory=turns.Usage)
    retry_at: float | None = None
    """Unix seconds at which a rate limit ends, when the API named it."""


class Turns:
    """Everything that a harness asks of the daemon about turns.

    *credential* says what the gateway adds on the way out, "api_key" or "token", and is empty
    while there is none: then no turn begins. *run_id* is random per run of the daemon. *secrets*
    gives plans the values that configurations name; without it there are none.
    """

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        settings: TurnSettings,
        credential: Callable[[], str],
        run_id: str,
        secrets: named_secrets.NamedSecrets | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._credential = credential
        self._planner = plans.Planner(settings, credential, secrets)
        self._run_id = run_id

    async def hello(self, agent_id: ids.AgentId, boot: str) -> dict[str, Any]:
        """Greet a harness; a turn of an earlier one of this agent is lost and its mail returns."""

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_agent(tx, agent_id)
            current = tx.get_value(_running_key(agent_id))
            if current is not None and current["boot"] != boot:
                self._lose(tx, agent, "the harness was started again")
            agent = lookup.require_agent(tx, agent_id)
            if agent.turn_state is agents.TurnState.OFFLINE:
                self._set_state(tx, agent, agents.TurnState.IDLE, "")
            return agent

        agent = await self._store.write(work)
        return {
            "protocol": agent_protocol.PROTOCOL,
            "agent": {"id": agent.id, "name": agent.name, "role": agent.role.value},
            "hive": self._settings.hive,
            "daemon": self._run_id,
        }

    async def take(self, agent_id: ids.AgentId, boot: str) -> dict[str, Any]:
        """Return the plan of the next turn; parks without limit until there is one."""
        while True:
            number = self._store.number()
            pause = await self._store.read(lambda tx: self._pause_before_turn(tx, agent_id, boot))
            if pause is None:
                begun = await self._store.write(lambda tx: self._begin(tx, agent_id, boot))
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
            self._end(tx, agent, row, report)

        await self._store.write(work)

    async def report_state(self, agent_id: ids.AgentId, state: agents.TurnState, note: str) -> None:
        """Note what the harness is doing; unchanged reports write nothing."""

        def work(tx: ports.Tx) -> None:
            agent = lookup.require_agent(tx, agent_id)
            if agent.turn_state is not state or agent.turn_note != note:
                self._set_state(tx, agent, state, note)

        await self._store.write(work)

    async def interrupt(self, caller: access.Caller, name: str) -> agents.Agent:
        """Ask the running turn of an agent to stop now; CONFLICT when none is running."""
        access.require(caller, access.Right.OPERATOR, "interrupt a turn")

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_named(tx, name)
            current = tx.get_value(_running_key(agent.id))
            if current is None:
                raise errors.conflict(f"cannot interrupt {agent.name}: no turn is running")
            tx.put_value(_interrupt_key(agent.id), current["turn"])
            tx.record(
                events.Event(
                    events.EventKind.TURN_INTERRUPT_ASKED,
                    agent=agent.id,
                    turn=ids.TurnId(current["turn"]),
                    text=f"by {caller.name} on the {caller.via}",
                    topics=(events.orders_topic(agent.id),),
                )
            )
            return agent

        return await self._store.write(work)

    async def retry(self, caller: access.Caller, name: str) -> agents.Agent:
        """End an agent's pause after a failed turn, so that it tries again now; else CONFLICT."""
        access.require(caller, access.Right.OPERATOR, "end a pause")

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_named(tx, name)
            if not is_pausing(tx, agent.id):
                raise errors.conflict(
                    f"cannot retry {agent.name}: it does not pause (a turn tries by itself)"
                )
            now = self._clock.now()
            pauses.end(tx, agent.id, now)
            tx.record(
                events.Event(
                    events.EventKind.TURN_RETRY_ASKED,
                    agent=agent.id,
                    text=f"by {caller.name} on the {caller.via}",
                    # What `take` waits for.
                    topics=(events.inbox_topic(ids.PartyId(agent.id)),),
                )
            )
            return turn_state.put(tx, now, agent, agents.TurnState.IDLE, "")

        return await self._store.write(work)

    async def orders(self, agent_id: ids.AgentId, turn: ids.TurnId) -> str:
        """Park until there is an order for *turn*: "interrupt", or "none" once it is over."""

        def look(tx: ports.ReadTx) -> str:
            if tx.get_value(_interrupt_key(agent_id)) == turn:
                return "interrupt"
            current = tx.get_value(_running_key(agent_id))
            return "" if current is not None and current["turn"] == turn else "none"

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
        self._lose(tx, agent, note, blame=blame)
        pauses.clear(tx, agent.id)
        self._set_state(tx, lookup.require_agent(tx, agent.id), agents.TurnState.OFFLINE, "")

    def _pause_before_turn(
        self, tx: ports.ReadTx, agent_id: ids.AgentId, boot: str
    ) -> float | None:
        """Seconds until a turn may begin; infinity until something changes; None for now."""
        agent = lookup.require_agent(tx, agent_id)
        current = tx.get_value(_running_key(agent_id))
        if current is not None and current["boot"] == boot:
            return None
        if agent.wanted is not agents.Wanted.RUNNING or not self._credential():
            return float("inf")
        if not _has_mail(tx, agent_id):
            return float("inf")
        return pauses.seconds_left(tx, agent_id, self._clock.now())

    def _begin(self, tx: ports.Tx, agent_id: ids.AgentId, boot: str) -> plans.Begun | None:
        agent = lookup.require_agent(tx, agent_id)
        current = tx.get_value(_running_key(agent_id))
        if current is not None and current["boot"] == boot:
            row = tx.get_turn(ids.TurnId(current["turn"]))
            assert row is not None
            # Only what the turn began with: what `recv` took since was answered there.
            first = tx.get_message(ids.MessageId(current["message"]))
            return self._planner.begin(tx, agent, row, [first] if first is not None else [])
        if current is not None:
            self._lose(tx, agent, "another harness took over")
            agent = lookup.require_agent(tx, agent_id)
        now = self._clock.now()
        turn_id = ids.new_turn_id()
        leased = tx.lease_messages(ids.PartyId(agent_id), turn_id, now, 1)
        if not leased:
            return None
        row = turns.Turn(
            id=turn_id,
            agent=agent_id,
            started_at=now,
            ended_at=None,
            outcome=turns.Outcome.RUNNING,
            note="",
            woke_by=leased[0].sender_name,
            model=effective.model(tx, agent, self._settings.model),
            tool_calls=0,
            usage=turns.Usage(),
        )
        tx.insert_turn(row)
        tx.put_value(
            _running_key(agent_id), {"turn": turn_id, "boot": boot, "message": leased[0].id}
        )
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
        self._set_state(tx, agent, agents.TurnState.THINKING, "")
        return self._planner.begin(tx, agent, row, leased)

    def _end(
        self, tx: ports.Tx, agent: agents.Agent, row: turns.Turn, report: FinishReport
    ) -> None:
        now = self._clock.now()
        tx.update_turn(
            dataclasses.replace(
                row,
                ended_at=now,
                outcome=report.outcome,
                note=report.note,
                tool_calls=report.tool_calls,
                usage=report.usage,
            )
        )
        tx.delete_value(_running_key(agent.id))
        tx.delete_value(_interrupt_key(agent.id))
        if report.outcome in turns.FINAL_HANDLED:
            posting.settle(tx, now, row.id)
            if pauses.clear(tx, agent.id) is turns.Outcome.NEEDS_LOGIN:
                posting.tell_manager(tx, now, agent, "logged_in")
            state, note = agents.TurnState.IDLE, ""
        else:
            leased = tx.list_leased(lease=row.id)
            if report.tool_calls == 0 and report.outcome in _PARKED:
                # The model never worked on this mail: it does not count as a delivery.
                leased = [dataclasses.replace(m, deliveries=m.deliveries - 1) for m in leased]
            posting.give_back(tx, now, leased)
            state = _PARKED.get(report.outcome, agents.TurnState.BACKING_OFF)
            note = pauses.begin(tx, agent.id, now, report.outcome, report.note, report.retry_at)
            if report.outcome is turns.Outcome.NEEDS_LOGIN:
                posting.tell_manager(tx, now, agent, "needs_login")
            elif report.outcome is turns.Outcome.FAILED and not _has_mail(tx, agent.id):
                # Its mail is dead: there is nothing to try again, and new mail need not wait.
                pauses.clear(tx, agent.id)
                state, note = agents.TurnState.IDLE, ""
        tx.record(
            events.Event(
                events.EventKind.TURN_ENDED,
                agent=agent.id,
                turn=row.id,
                text=report.outcome.value,
                # A returned message wakes `take`, which must see the pause: same commit.
                topics=(
                    events.inbox_topic(ids.PartyId(agent.id)),
                    events.orders_topic(agent.id),
                ),
            )
        )
        self._set_state(tx, lookup.require_agent(tx, agent.id), state, note)

    def _lose(self, tx: ports.Tx, agent: agents.Agent, note: str, *, blame: bool = True) -> None:
        current = tx.get_value(_running_key(agent.id))
        now = self._clock.now()
        if current is not None:
            row = tx.get_turn(ids.TurnId(current["turn"]))
            assert row is not None
            tx.update_turn(
                dataclasses.replace(row, ended_at=now, outcome=turns.Outcome.LOST, note=note)
            )
            tx.delete_value(_running_key(agent.id))
            tx.delete_value(_interrupt_key(agent.id))
            tx.record(
                events.Event(
                    events.EventKind.TURN_ENDED,
                    agent=agent.id,
                    turn=row.id,
                    text=f"lost: {note}",
                    topics=(events.orders_topic(agent.id),),
                )
            )
        leased = tx.list_leased(recipient=ids.PartyId(agent.id))
        posting.give_back(tx, now, leased, blame=blame)

    def _set_state(
        self, tx: ports.Tx, agent: agents.Agent, state: agents.TurnState, note: str
    ) -> None:
        turn_state.put(tx, self._clock.now(), agent, state, note)

    async def _sleep(self, seconds: float) -> int:
        await self._clock.sleep(seconds)
        return 0


_PARKED: Final = {
    turns.Outcome.NEEDS_LOGIN: agents.TurnState.NEEDS_LOGIN,
    turns.Outcome.RATE_LIMITED: agents.TurnState.RATE_LIMITED,
}


def is_pausing(tx: ports.ReadTx, agent: ids.AgentId) -> bool:
    """Whether the agent waits after a failed turn before it begins the next one."""
    return tx.get_value(_running_key(agent)) is None and pauses.is_running(tx, agent)


def _has_mail(tx: ports.ReadTx, agent: ids.AgentId) -> bool:
    return tx.count_queued(ids.PartyId(agent)) > 0


def _running_key(agent: ids.AgentId) -> str:
    return f"turn:{agent}"


def _interrupt_key(agent: ids.AgentId) -> str:
    return f"interrupt:{agent}"
