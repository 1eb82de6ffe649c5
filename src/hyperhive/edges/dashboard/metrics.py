"""``/metrics``: the hive's figures in the text format of Prometheus.

Names follow Prometheus' practice (base units, ``_total`` for what only grows). Totals of turns
are the hive's own and survive restarts; what the gateway and the egress proxy counted begins
anew with the daemon, which scrapers take for a reset.
"""

from __future__ import annotations

import collections
import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hyperhive.domain import agents, statistics
from hyperhive.services import scraping

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TOKEN_KINDS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
}


def render(figures: scraping.Figures) -> bytes:
    """*figures*, and what the process itself uses, ready to be sent."""
    # Here and not above: a hive that nobody scrapes does not pay for it.
    import prometheus_client
    from prometheus_client import core

    class Picture:
        """Collects one picture; made anew for each scrape, so nothing is kept twice."""

        def collect(self) -> Iterable[Any]:
            for name, words, labels, values in _gauges(figures):
                family = core.GaugeMetricFamily(name, words, labels=labels)
                for key, value in values:
                    family.add_metric(key, value)
                yield family
            for name, words, labels, values in _counters(figures):
                family = core.CounterMetricFamily(name, words, labels=labels)
                for key, value in values:
                    family.add_metric(key, value)
                yield family
            took = core.SummaryMetricFamily(
                "hive_turn_seconds", "How long turns took.", labels=["agent", "model"]
            )
            for (agent, model), rows in _by_model(figures).items():
                took.add_metric(
                    [agent, model], sum(row.turns for row in rows), sum(row.seconds for row in rows)
                )
            yield took

    registry = prometheus_client.CollectorRegistry()
    registry.register(Picture())
    # Memory, processor time and open files of the daemon.
    prometheus_client.ProcessCollector(registry=registry)
    return prometheus_client.generate_latest(registry)


Family = tuple[str, str, list[str], list[tuple[list[str], float]]]


def _gauges(figures: scraping.Figures) -> list[Family]:
    states = [row.turn_state for row in figures.agents]
    phases = [row.phase for row in figures.agents]
    return [
        ("hive_info", "The running version.", ["version"], [([figures.version], 1)]),
        ("hive_store_number", "The number of the newest fact.", [], [([], figures.number)]),
        ("hive_agents", "Agents by phase.", ["phase"], _count(agents.Phase, phases)),
        (
            "hive_agent_turn_states",
            "Agents by what their turns are doing.",
            ["state"],
            _count(agents.TurnState, states),
        ),
        (
            "hive_mail_queued",
            "Messages that wait, by recipient.",
            ["recipient"],
            [([queue.name], queue.queued) for queue in figures.queues],
        ),
        (
            "hive_mail_oldest_seconds",
            "How long the message has waited that waits longest; 0 when none waits.",
            ["recipient"],
            [([queue.name], queue.oldest_seconds) for queue in figures.queues],
        ),
        ("hive_approvals", "Approvals by state.", ["state"], _keyed(figures.approvals)),
        (
            "hive_builds",
            "Proposals by the state of their build.",
            ["state"],
            _keyed(figures.builds),
        ),
        ("hive_deploys", "Proposals by the step of their deploy.", ["step"], _keyed(figures.steps)),
    ]


def _counters(figures: scraping.Figures) -> list[Family]:
    named = [(figures.names.get(row.agent, row.agent), row) for row in figures.totals]
    grouped = _by_model(figures)
    requests = [([name], float(row["requests"])) for name, row in figures.gateway.items()]
    return [
        (
            "hive_turns",
            "Turns that ended.",
            ["agent", "model", "outcome"],
            [([name, row.model, row.outcome.value], row.turns) for name, row in named],
        ),
        (
            "hive_turn_tokens",
            "Tokens that turns used.",
            ["agent", "model", "kind"],
            [
                ([agent, model, kind], sum(getattr(row.usage, field) for row in rows))
                for (agent, model), rows in grouped.items()
                for kind, field in TOKEN_KINDS.items()
            ],
        ),
        (
            "hive_turn_cost_usd",
            "Money that turns cost, at list prices.",
            ["agent", "model"],
            [(list(key), sum(row.usage.cost_usd for row in rows)) for key, rows in grouped.items()],
        ),
        (
            "hive_turn_tool_calls",
            "Tools that turns called.",
            ["agent", "model"],
            [(list(key), sum(row.tool_calls for row in rows)) for key, rows in grouped.items()],
        ),
        (
            "hive_gateway_requests",
            "Answers of the model that passed the gateway since the daemon started.",
            ["agent"],
            requests,
        ),
        (
            "hive_gateway_tokens",
            "Tokens of those answers.",
            ["agent", "kind"],
            [
                ([name, kind], float(row[field]))
                for name, row in figures.gateway.items()
                for kind, field in TOKEN_KINDS.items()
            ],
        ),
        (
            "hive_egress_refused",
            "Connections that the egress proxy refused since the daemon started.",
            ["agent"],
            [([name], float(count)) for name, count in figures.refused.items()],
        ),
    ]


def _by_model(figures: scraping.Figures) -> dict[tuple[str, str], list[statistics.TurnSum]]:
    rows: dict[tuple[str, str], list[statistics.TurnSum]] = collections.defaultdict(list)
    for row in figures.totals:
        rows[figures.names.get(row.agent, row.agent), row.model].append(row)
    return rows


def _count(kinds: type[enum.Enum], found: list[Any]) -> list[tuple[list[str], float]]:
    """Every kind is there, so that an alert about one does not wait for its first time."""
    return [([kind.value], float(sum(one is kind for one in found))) for kind in kinds]


def _keyed(counts: Mapping[str, int]) -> list[tuple[list[str], float]]:
    return [([name], float(count)) for name, count in counts.items()]
