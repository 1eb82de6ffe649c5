"""A bucket of mail for each agent."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.domain import errors, ids
from hyperhive.edges.agent_api import allowance

ANN, BOB = ids.AgentId("a" * 12), ids.AgentId("b" * 12)


def test_a_flood_is_refused_and_another_agent_is_not():
    async def story():
        buckets = allowance.Allowances()
        for _ in range(int(allowance.BURST)):
            buckets.spend(ANN, "x")
        with pytest.raises(errors.HiveError, match="wait 1 s") as caught:
            buckets.spend(ANN, "x")
        assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
        buckets.spend(BOB, "x")
        buckets.forget(ANN)
        buckets.spend(ANN, "x")

    asyncio.run(story())


def test_large_mail_costs_more():
    async def story():
        buckets = allowance.Allowances()
        for _ in range(20):
            buckets.spend(ANN, "x" * (4 * allowance.BYTES_PER_TOKEN))
        with pytest.raises(errors.HiveError, match="wait 1 s"):
            buckets.spend(ANN, "x" * (4 * allowance.BYTES_PER_TOKEN))

    asyncio.run(story())
