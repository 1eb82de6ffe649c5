"""What the turns of the last days come to, by agent and model.

Worked out when somebody asks and never by itself: a hive that nobody looks at does nothing here.
Turns are kept for `turns.KEPT`, so that is as far back as one can look.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import ids, statistics, turns
from hyperhive.services import lookup
from hyperhive.wire import views

DAYS_MAX: Final = turns.KEPT.days
WAKERS_SHOWN: Final = 10
"""Senders listed of one agent with one model; all of them are in the counts."""
LOOKED_AT: Final = 20
"""Newest turns of an agent among which one is looked for that reached the model."""


class Statistics:
    """Reads the turns; writes nothing."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def view(self, days: int, name: str | None = None) -> dict[str, Any]:
        """Turns that began in the last *days*, of all agents or of one, as plain JSON.

        ``rows`` has one for each agent and model, the dearest first; ``total`` is all of them.
        `HiveError` NOT_FOUND when there is no agent *name*.
        """
        now = self._clock.now()
        since = now - datetime.timedelta(days=days)

        def look(tx: ports.ReadTx) -> dict[str, Any]:
            agent = None if name is None else lookup.require_named(tx, name).id
            sums = _by_row(tx.sum_turns(since, agent))
            spreads = {(one.agent, one.model): one for one in tx.measure_turns(since, agent)}
            wakers = _by_row(tx.count_wakers(since, agent))
            names = {row.id: row.name for row in tx.list_agents()}
            windows = {each: _window(tx, each) for each, _ in sums}
            rows = [
                {
                    "agent": names.get(each, each),
                    "model": model,
                    **_figures(found, spreads.get((each, model))),
                    "context_tokens": windows[each].get(model),
                    "woke": [
                        {"name": one.name, "turns": one.turns}
                        for one in wakers[each, model][:WAKERS_SHOWN]
                    ],
                }
                for (each, model), found in sums.items()
            ]
            together = [one for found in sums.values() for one in found]
            return {
                "days": days,
                "since": views.timestamp(since),
                "at": views.timestamp(now),
                "total": _figures(together, spreads.get((None, ""))),
                "rows": sorted(rows, key=_dearest_first),
            }

        return await self._store.read(look)


def _dearest_first(row: dict[str, Any]) -> tuple[float, int, str, str]:
    return -row["cost_usd"], -row["turns"], row["agent"], row["model"]


def _by_row(found: Iterable[Any]) -> dict[tuple[ids.AgentId, str], list[Any]]:
    rows: dict[tuple[ids.AgentId, str], list[Any]] = collections.defaultdict(list)
    for one in found:
        rows[one.agent, one.model].append(one)
    return rows


def _figures(
    found: Iterable[statistics.TurnSum], spread: statistics.Spread | None
) -> dict[str, Any]:
    outcomes: collections.Counter[str] = collections.Counter()
    usage, tools = turns.Usage(), 0
    for one in found:
        outcomes[one.outcome.value] += one.turns
        usage = statistics.add_usage(usage, one.usage)
        tools += one.tool_calls
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "turns": outcomes.total(),
        "outcomes": {each.value: outcomes[each.value] for each in turns.Outcome},
        "tool_calls": tools,
        **{
            name: value
            for name, value in dataclasses.asdict(usage).items()
            if name not in ("context_tokens", "cost_usd")
        },
        "cost_usd": round(usage.cost_usd, 6),
        # Of all that the model was given to read; null when it was given nothing.
        "cache_share": round(usage.cache_read_tokens / read, 4) if read else None,
        "p50_seconds": None if spread is None else round(spread.p50, 3),
        "p95_seconds": None if spread is None else round(spread.p95, 3),
        "context_max_tokens": usage.context_tokens,
    }


def _window(tx: ports.ReadTx, agent: ids.AgentId) -> dict[str, int]:
    """What is in the window now, under the model that said so; nothing when none has."""
    for turn in tx.list_turns(agent, LOOKED_AT):
        if turn.usage.context_tokens:
            return {turn.model: turn.usage.context_tokens}
    return {}
