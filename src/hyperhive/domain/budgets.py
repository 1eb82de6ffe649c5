"""Budgets: what an agent or the whole hive may spend in one day, and when that is too much.

Rule: no turn begins that would pass the budget, going by what the agent's last turns took;
and no request of a running turn goes out once the budget is used up. A day is a calendar
day of the host's zone.
"""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from hyperhive.domain import turns

RECENT_TURNS: Final = 10
"""Turns whose median is what the next one is expected to take."""
KEPT: Final = datetime.timedelta(days=35)
"""How long a day's figures are kept."""
HIVE: Final = "hive"
"""The scope of the whole hive; every other scope is an agent's id."""


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of each kind."""

    fresh: float
    output: float

    def of(self, used: turns.Usage) -> float:
        """What *used* costs; a cache is written for 1.25 times, and read for a tenth."""
        fresh = used.input_tokens + 1.25 * used.cache_write_tokens + 0.1 * used.cache_read_tokens
        return (fresh * self.fresh + used.output_tokens * self.output) / 1e6


PRICES: Final[tuple[tuple[str, Price], ...]] = (
    ("sonnet-5", Price(2.0, 10.0)),
    ("haiku", Price(1.0, 5.0)),
    ("sonnet", Price(3.0, 15.0)),
)
"""By a word in the model's name, the first that fits. That of claude-sonnet-5 is what the pinned
claude program charges (measured from its results); the others are meant to be too high rather
than too low, and are no quotation of a price list."""
DEAREST: Final = Price(15.0, 75.0)
"""Of every other model: a budget must not be passed because a name is new."""


def price_of(model: str) -> Price:
    """The list price of *model*; an unknown one counts as the dearest."""
    low = model.lower()
    return next((price for word, price in PRICES if word in low), DEAREST)


@dataclasses.dataclass(frozen=True, slots=True)
class Amount:
    """Money and tokens: spent, expected, or allowed. All four kinds of tokens count alike."""

    usd: float = 0.0
    tokens: int = 0

    def plus(self, other: Amount) -> Amount:
        """The sum of both."""
        return Amount(self.usd + other.usd, self.tokens + other.tokens)

    def times(self, factor: int) -> Amount:
        """*factor* times as much."""
        return Amount(self.usd * factor, self.tokens * factor)


NOTHING: Final = Amount()
"""As a limit: none. A limit of zero is none in either unit; who must not run is paused."""


def amount_of(model: str, used: turns.Usage) -> Amount:
    """What *used* counts for."""
    tokens = (
        used.input_tokens + used.output_tokens + used.cache_read_tokens + used.cache_write_tokens
    )
    return Amount(price_of(model).of(used), tokens)


def expected(recent: Sequence[turns.Turn]) -> Amount:
    """What the next turn may take: the median of *recent* ones that used the model at all."""
    took = [amount_of(turn.model, turn.usage) for turn in recent]
    took = [amount for amount in took if amount.tokens][:RECENT_TURNS]
    if not took:
        return NOTHING
    return Amount(
        statistics.median(amount.usd for amount in took),
        int(statistics.median(amount.tokens for amount in took)),
    )


def exceeded(limit: Amount, spent: Amount, more: Amount = NOTHING) -> str:
    """Why *more* after *spent* is too much for *limit*, in words; empty when it is not.

    Reaching a limit exactly is too much when nothing *more* is asked about: the next request
    would pass it, however small it is.
    """
    for unit, most, used, next_one in (
        ("USD", limit.usd, spent.usd, more.usd),
        ("tokens", limit.tokens, spent.tokens, more.tokens),
    ):
        if not most or (used < most and used + next_one <= most):
            continue
        said = f"{_figure(used, unit)} of {_figure(most, unit)} {unit} used today"
        if used < most:
            said += f", and a turn takes about {_figure(next_one, unit)}"
        return said
    return ""


def _figure(value: float, unit: str) -> str:
    if unit == "tokens":
        return f"{int(value)}"
    return f"{value:.2f}" if value >= 1 or not value else f"{value:.4f}"


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """One calendar day: its name, ``2026-11-23``, and the moment when the next one begins."""

    name: str
    ends_at: datetime.datetime


def day_of(now: datetime.datetime, zone: datetime.tzinfo | None) -> Day:
    """The day that *now* is in; without a *zone* it is the host's."""
    today = now.astimezone(zone).date()
    tomorrow = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time())
    # Without a zone a naive time counts as the host's; with one, it is put in.
    begins = tomorrow.astimezone() if zone is None else tomorrow.replace(tzinfo=zone)
    return Day(today.isoformat(), begins.astimezone(datetime.UTC))


def outdated(days: Iterable[str], today: str) -> list[str]:
    """Those of *days* whose figures nobody keeps any more."""
    oldest = (datetime.date.fromisoformat(today) - KEPT).isoformat()
    return [day for day in days if day < oldest]
