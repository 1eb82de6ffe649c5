"""What passed the gateway adds up per agent."""

from __future__ import annotations

from hyperhive.domain import ids, turns
from hyperhive.services import metering


def test_answers_add_up_per_agent_and_fill_does_not():
    meter = metering.Metering()
    ann, bob = ids.AgentId("a" * 12), ids.AgentId("b" * 12)
    meter.add(ann, turns.Usage(input_tokens=10, output_tokens=2, context_tokens=12))
    meter.add(ann, turns.Usage(input_tokens=5, output_tokens=1, cache_read_tokens=7))
    assert meter.view(ann) == {
        "requests": 2, "input_tokens": 15, "output_tokens": 3, "cache_read_tokens": 7,
        "cache_write_tokens": 0,
    }  # fmt: skip
    assert meter.view(bob)["requests"] == 0
