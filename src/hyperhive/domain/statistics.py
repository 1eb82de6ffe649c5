"""What turns add up to: sums by agent, model and outcome, and how long they took."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from hyperhive.domain import ids, turns


@dataclasses.dataclass(frozen=True, slots=True)
class TurnSum:
    """The turns of one agent with one model that ended in one way."""

    agent: ids.AgentId
    model: str
    outcome: turns.Outcome
    turns: int
    seconds: float
    """From begin to end, together; of turns that run, nothing."""
    tool_calls: int
    usage: turns.Usage
    """Sums, but ``context_tokens``: the most that one turn had in its window."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """How long the turns of one agent with one model took, in seconds.

    Both are times that a turn really took (nearest rank); lost turns do not count, because
    they last as long as nobody looks.
    """

    agent: ids.AgentId | None
    """None: of all agents and models that were asked for."""
    model: str
    p50: float
    p95: float


@dataclasses.dataclass(frozen=True, slots=True)
class Waker:
    """How many turns of an agent with a model one sender has started."""

    agent: ids.AgentId
    model: str
    name: str
    turns: int


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The smallest of *ordered* that *percent* of them do not exceed; 0 when there is none."""
    if not ordered:
        return 0.0
    return ordered[-(-len(ordered) * percent // 100) - 1]


def measure(found: Iterable[tuple[ids.AgentId, str, float]]) -> list[Spread]:
    """The spread of all *found* (agent, model, seconds), then of each agent and model."""
    took: dict[tuple[ids.AgentId, str], list[float]] = collections.defaultdict(list)
    for agent, model, seconds in found:
        took[agent, model].append(seconds)
    for times in took.values():
        times.sort()
    together = sorted(seconds for times in took.values() for seconds in times)
    if not together:
        return []
    return [
        Spread(None, "", nearest_rank(together, 50), nearest_rank(together, 95)),
        *(
            Spread(agent, model, nearest_rank(times, 50), nearest_rank(times, 95))
            for (agent, model), times in sorted(took.items())
        ),
    ]


def add_usage(one: turns.Usage, other: turns.Usage) -> turns.Usage:
    """Both together: spending is added, of the windows the fuller one counts."""
    return turns.Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        cost_usd=one.cost_usd + other.cost_usd,
        context_tokens=max(one.context_tokens, other.context_tokens),
    )


def add_turn(total: TurnSum | None, turn: turns.Turn) -> TurnSum:
    """*total* with one turn more; None is the total of nothing."""
    seconds = 0.0 if turn.ended_at is None else (turn.ended_at - turn.started_at).total_seconds()
    before = total or TurnSum(turn.agent, turn.model, turn.outcome, 0, 0.0, 0, turns.Usage())
    return dataclasses.replace(
        before,
        turns=before.turns + 1,
        seconds=before.seconds + seconds,
        tool_calls=before.tool_calls + turn.tool_calls,
        usage=add_usage(before.usage, turn.usage),
    )
