"""How turns end, in the transaction that ends them: what becomes of mail, pause and session."""

from __future__ import annotations

import dataclasses
import datetime

from hyperhive import ports
from hyperhive.domain import agents, events, ids, turns
from hyperhive.domain import sessions as rules
from hyperhive.services import holds, lookup, pauses, posting, running, sessions


@dataclasses.dataclass(frozen=True, slots=True)
class FinishReport:
    """What a harness says at the end of a turn."""

    outcome: turns.Outcome
    note: str = ""
    tool_calls: int = 0
    usage: turns.Usage = dataclasses.field(default_factory=turns.Usage)
    retry_at: float | None = None
    """Unix seconds at which a rate limit ends, when the API named it."""
    window: int = 0
    """Tokens that the model's window holds, when its program said so."""


def end(
    tx: ports.Tx,
    now: datetime.datetime,
    agent: agents.Agent,
    row: turns.Turn,
    report: FinishReport,
    share: float,
) -> None:
    """Settle or return the mail of a turn as its outcome says, and pause where it must."""
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
    current = running.find(tx, agent.id)
    assert current is not None
    too_long = report.outcome is turns.Outcome.TOO_LONG
    hopeless = too_long and current.fresh and report.tool_calls == 0
    before = sessions.load(tx, agent.id)
    sessions.end(
        tx,
        agent,
        row,
        report.outcome,
        usage=report.usage,
        window=report.window,
        why=current.why,
        hopeless=hopeless,
    )
    running.forget(tx, agent.id)
    if report.outcome in turns.FINAL_HANDLED:
        posting.settle(tx, now, row.id)
        if pauses.clear(tx, agent.id) is turns.Outcome.NEEDS_LOGIN:
            posting.tell_manager(tx, now, agent, "logged_in")
    else:
        leased = tx.list_leased(lease=row.id)
        first_time = too_long and not before.retrying and not hopeless
        if report.tool_calls == 0 and (report.outcome in pauses.STATES or first_time):
            # The model never worked on this mail: it does not count as a delivery.
            leased = [dataclasses.replace(m, deliveries=m.deliveries - 1) for m in leased]
        # Refused in mid-turn by the budget: the mail is not to blame, and the hold is the pause.
        cut = report.outcome is turns.Outcome.FAILED and holds.is_out_of_budget(tx, agent.id)
        posting.give_back(tx, now, leased, blame=not cut)
        if not cut and _must_pause(report, current, hopeless=hopeless):
            pauses.begin(tx, agent.id, now, report.outcome, report.note, report.retry_at)
        if report.outcome is turns.Outcome.NEEDS_LOGIN:
            posting.tell_manager(tx, now, agent, "needs_login")
        elif report.outcome not in pauses.STATES and _has_nothing(tx, agent.id, share):
            # Its mail is dead: there is nothing to try again, and new mail need not wait.
            pauses.clear(tx, agent.id)
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


def _must_pause(report: FinishReport, current: running.Running, *, hopeless: bool) -> bool:
    """Whether what failed would fail again at once."""
    if report.outcome is turns.Outcome.TOO_LONG:
        return hopeless
    if report.outcome is not turns.Outcome.FAILED or current.why is None:
        return True
    # What the operator asked for, or was only done ahead of time, holds up no mail.
    return current.why is rules.Reason.TOO_LONG


def _has_nothing(tx: ports.ReadTx, agent_id: ids.AgentId, share: float) -> bool:
    agent = lookup.require_agent(tx, agent_id)
    every = frozenset(turns.TurnKind)
    return sessions.next_turn(tx, agent, share=share, kinds=every) is None


def lose(
    tx: ports.Tx,
    now: datetime.datetime,
    agent: agents.Agent,
    note: str,
    *,
    blame: bool = True,
) -> None:
    """The turn of *agent*, if one runs, ended without a word; its mail returns."""
    current = running.find(tx, agent.id)
    if current is not None:
        row = tx.get_turn(current.turn)
        assert row is not None
        lost = dataclasses.replace(row, ended_at=now, outcome=turns.Outcome.LOST, note=note)
        tx.update_turn(lost)
        if blame:
            sessions.end(
                tx,
                agent,
                row,
                turns.Outcome.LOST,
                usage=turns.Usage(),
                window=0,
                why=current.why,
                hopeless=False,
            )
        running.forget(tx, agent.id)
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
