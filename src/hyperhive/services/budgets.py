"""Budgets: what was spent today, and holding those who would spend too much.

What is spent is counted by the model gateway, outside the sandboxes, and durable answer by
answer: a daemon that dies forgets at most the answers that were on their way. Money is at
list prices, whatever the program in the sandbox says of itself.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, budgets, errors, events, ids, turns
from hyperhive.domain.budgets import HIVE, Amount, Day
from hyperhive.services import holding, holds, lookup, posting
from hyperhive.wire import views

Used = tuple[str, turns.Usage]
"""The model and what an answer of it took."""

USD_MAX: Final = 1e6
TOKENS_MAX: Final = 10**15
_SPENT: Final = "spent:"
_MORE: Final = "budget-more:"
_TOLD: Final = "budget-told:"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What counts where nobody has set anything: for each agent, and for the whole hive."""

    agent: Amount = budgets.NOTHING
    hive: Amount = budgets.NOTHING


class Budgets:
    """Counts, refuses, holds and lets go. *zone* is where days begin; None: the host's."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        defaults: Limits,
        zone: datetime.tzinfo | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._defaults = defaults
        self._zone = zone

    # --- for the gateway ----------------------------------------------------------------

    async def charge(self, agent: ids.AgentId, used: Used) -> None:
        """Count one answer, durably before returning. It is in line before the first await."""
        amount = budgets.amount_of(*used)

        def work(tx: ports.Tx) -> None:
            today = self._today().name
            for scope in (agent, HIVE):
                spent = tx.get_value(_key(_SPENT, today, scope))
                if spent is None and scope == HIVE:
                    _forget_old(tx, today)
                total = _amount(spent).plus(amount)
                count = 1 + (spent["requests"] if spent else 0)
                tx.put_value(
                    _key(_SPENT, today, scope),
                    {"usd": total.usd, "tokens": total.tokens, "requests": count},
                )

        await self._store.write(work)

    async def admit(self, agent: ids.AgentId, under_way: Sequence[Used]) -> None:
        """Let a request out, or hold the agent and raise `HiveError` UNAVAILABLE with the reason.

        *under_way* is what its open answers have told already and nobody has charged yet.
        """
        told = budgets.NOTHING
        for used in under_way:
            told = told.plus(budgets.amount_of(*used))

        # On the writer, behind every charge that is in line.
        def work(tx: ports.Tx) -> str:
            found = tx.get_agent(agent)
            if found is None:
                return ""
            return self._check(tx, found, told, budgets.NOTHING)

        refusal = await self._store.write(work)
        if refusal:
            raise errors.unavailable(f"cannot ask the model: {refusal}")

    # --- inside the transaction that begins a turn ----------------------------------------

    def before_turn(self, tx: ports.Tx, agent: agents.Agent) -> None:
        """Hold *agent* when its next turn would pass its budget, or the hive's."""
        today = self._today()
        if any(self._limit(tx, today, scope) != budgets.NOTHING for scope in (agent.id, HIVE)):
            self._check(tx, agent, budgets.NOTHING, _expected(tx, agent.id))

    # --- for the operator -----------------------------------------------------------------

    async def set(
        self,
        caller: access.Caller,
        name: str | None,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        clear: bool = False,
    ) -> dict[str, Any]:
        """Set the budget of an agent, or of the hive for no *name*; what is None stays.

        *clear*: the default counts again. Who is held and need not be any more goes on at once.
        """
        access.require(caller, access.Right.OPERATOR, "set a budget")
        if not (0 <= (usd or 0) <= USD_MAX and 0 <= (tokens or 0) <= TOKENS_MAX):
            raise errors.invalid(
                f"cannot set that budget: use 0 (none) to {USD_MAX:.0f} US dollars and "
                f"0 (none) to {TOKENS_MAX} tokens"
            )

        def work(tx: ports.Tx) -> None:
            agent = None if name is None else lookup.require_named(tx, name)
            scope = HIVE if agent is None else agent.id
            before = self._daily(tx, scope)
            limit = Amount(
                before.usd if usd is None else usd, before.tokens if tokens is None else tokens
            )
            if clear:
                tx.delete_value(_set_key(scope))
            else:
                tx.put_value(_set_key(scope), dataclasses.asdict(limit))
            said = "the default" if clear else f"{limit.usd:g} USD, {limit.tokens} tokens"
            whose = "the hive" if agent is None else agent.name
            tx.record(
                events.Event(
                    events.EventKind.BUDGET_SET,
                    agent=None if agent is None else agent.id,
                    text=f"{whose}: {said} a day, by {caller.name} on the {caller.via}",
                )
            )
            self._review(tx, "the budget was changed")

        await self._store.write(work)
        return await self.view()

    def let_go(self, tx: ports.Tx, hold: holds.Hold) -> None:
        """In a transaction: allow today once more what the budget of *hold* allows for a day."""
        key = _key(_MORE, self._today().name, hold.about)
        tx.put_value(key, (tx.get_value(key) or 0) + 1)
        self._review(tx, "the operator allowed more for today")

    async def view(self) -> dict[str, Any]:
        """Every budget with what was spent of it today: the hive's, then each agent's."""

        def look(tx: ports.ReadTx) -> dict[str, Any]:
            today = self._today()
            rows = [self._row(tx, today, HIVE, None)]
            rows += [self._row(tx, today, agent.id, agent.name) for agent in tx.list_agents()]
            return {
                "day": today.name,
                "ends_at": views.timestamp(today.ends_at),
                "budgets": rows,
            }

        return await self._store.read(look)

    # --- parts ------------------------------------------------------------------------------

    def _today(self) -> Day:
        return budgets.day_of(self._clock.now(), self._zone)

    def _check(self, tx: ports.Tx, agent: agents.Agent, told: Amount, expected: Amount) -> str:
        """Hold *agent* if it is over; return why, or an empty text."""
        today = self._today()
        for scope in (agent.id, HIVE):
            limit = self._limit(tx, today, scope)
            spent = _amount(tx.get_value(_key(_SPENT, today.name, scope))).plus(told)
            why = budgets.exceeded(limit, spent, expected)
            if not why:
                continue
            whose = "the hive's budget" if scope == HIVE else f"{agent.name}'s budget"
            text = f"{whose}: {why}"
            hold = holds.Hold(
                holds.Reason.BUDGET, self._clock.now(), today.ends_at, text, about=scope
            )
            known = [each for each in holds.found(tx, agent.id) if each.reason is hold.reason]
            # A hold of another day, or of the other budget, is replaced: it says what is true.
            if not known or (known[0].until, known[0].about) != (hold.until, hold.about):
                holding.hold(tx, agent.id, hold)
            self._tell(tx, today, scope, limit, hold, agent)
            return hold.note
        return ""

    def _review(self, tx: ports.Tx, why: str) -> None:
        """Let go whom no budget holds any more."""
        now, today = self._clock.now(), self._today()
        for agent_id in holds.held_agents(tx, holds.Reason.BUDGET):
            expected = _expected(tx, agent_id)
            over = any(
                budgets.exceeded(
                    self._limit(tx, today, scope),
                    _amount(tx.get_value(_key(_SPENT, today.name, scope))),
                    expected,
                )
                for scope in (agent_id, HIVE)
            )
            if not over:
                holding.end(tx, now, agent_id, holds.Reason.BUDGET, why)

    def _tell(
        self,
        tx: ports.Tx,
        today: Day,
        scope: str,
        limit: Amount,
        hold: holds.Hold,
        agent: agents.Agent,
    ) -> None:
        """Tell the operator once of each limit of a day, however many agents it holds."""
        key, said = _key(_TOLD, today.name, scope), [limit.usd, limit.tokens]
        if tx.get_value(key) == said:
            return
        tx.put_value(key, said)
        who = "no agent begins a" if scope == HIVE else f"{agent.name} begins no"
        posting.tell_operator(
            tx,
            self._clock.now(),
            f"{hold.text}: {who} turn until {views.timestamp(hold.until)}. Mail waits. Raise it "
            f"with: hive budget; or allow as much again for today with: hive go-on {agent.name}",
        )

    def _limit(self, tx: ports.ReadTx, today: Day, scope: str) -> Amount:
        more = tx.get_value(_key(_MORE, today.name, scope)) or 0
        return self._daily(tx, scope).times(1 + more)

    def _daily(self, tx: ports.ReadTx, scope: str) -> Amount:
        given = tx.get_value(_set_key(scope))
        if given is not None:
            return _amount(given)
        return self._defaults.hive if scope == HIVE else self._defaults.agent

    def _row(self, tx: ports.ReadTx, today: Day, scope: str, name: str | None) -> dict[str, Any]:
        spent = tx.get_value(_key(_SPENT, today.name, scope))
        daily = self._daily(tx, scope)
        return {
            "agent": name,
            "usd_per_day": daily.usd or None,
            "tokens_per_day": daily.tokens or None,
            "is_default": tx.get_value(_set_key(scope)) is None,
            "times_today": 1 + (tx.get_value(_key(_MORE, today.name, scope)) or 0),
            "spent_usd": _amount(spent).usd,
            "spent_tokens": _amount(spent).tokens,
            "requests": spent["requests"] if spent else 0,
        }


def _expected(tx: ports.ReadTx, agent: ids.AgentId) -> Amount:
    # More than it takes: turns that never reached the model say nothing.
    return budgets.expected(tx.list_turns(agent, 3 * budgets.RECENT_TURNS))


def _amount(row: dict[str, Any] | None) -> Amount:
    return budgets.NOTHING if row is None else Amount(float(row["usd"]), int(row["tokens"]))


def _set_key(scope: str) -> str:
    return f"budget:{scope}"


def _key(prefix: str, day: str, scope: str) -> str:
    return f"{prefix}{day}:{scope}"


def _forget_old(tx: ports.Tx, today: str) -> None:
    for prefix in (_SPENT, _MORE, _TOLD):
        for key in tx.list_values(prefix):
            day = key.removeprefix(prefix).partition(":")[0]
            if budgets.outdated([day], today):
                tx.delete_value(key)
