"""What was refused is counted whole, remembered in part, and told rarely."""

from __future__ import annotations

import asyncio

from hyperhive.domain import errors, events, ids
from hyperhive.services import refusals

ANN, BOB = ids.AgentId("a" * 12), ids.AgentId("b" * 12)


async def facts(desk) -> list[tuple[ids.AgentId | None, str]]:
    found = await desk.store.read(lambda tx: tx.facts_after(0, 10_000))
    kind = events.EventKind.EGRESS_REFUSED
    return [(fact.event.agent, fact.event.text) for fact in found if fact.event.kind is kind]


def test_hosts_are_counted_and_the_newest_come_first(make_desk):
    async def story():
        desk = make_desk()
        refused = desk.refused
        assert refused.view(ANN) == {"count": 0, "hosts": []}
        for host in ("one:443", "two:80", "one:443"):
            desk.clock.advance(1)
            await refused.add(ANN, host, "not allowed")
        await refused.add(BOB, "three:443", "resolves to this host")
        at = "2030-01-01T00:00:0{}.000Z"
        assert refused.view(ANN) == {
            "count": 3,
            "hosts": [
                {"host": "one:443", "count": 2, "at": at.format(3), "reason": "not allowed"},
                {"host": "two:80", "count": 1, "at": at.format(2), "reason": "not allowed"},
            ],
        }
        (bob,) = refused.view(BOB)["hosts"]
        assert (bob["host"], bob["reason"]) == ("three:443", "resolves to this host")

    asyncio.run(story())


def test_an_agent_that_asks_on_and_on_fills_neither_memory_nor_facts(make_desk):
    async def story():
        desk = make_desk()
        refused = desk.refused
        await refused.add(BOB, "quiet:443", "not allowed")
        for number in range(5000):
            await refused.add(ANN, f"host-{number}.example:443", "not allowed")
        view = refused.view(ANN)
        assert view["count"] == 5000
        assert [each["host"] for each in view["hosts"]] == [
            f"host-{number}.example:443" for number in range(4999, 4989, -1)
        ]
        assert await facts(desk) == [
            (BOB, "quiet:443: not allowed"), (ANN, "host-0.example:443: not allowed"),
        ]  # fmt: skip
        desk.clock.advance(refusals.QUIET.total_seconds())
        await refused.add(ANN, "late:443", "not allowed")
        assert (await facts(desk))[2:] == [(ANN, "late:443: not allowed")]
        assert refused.view(BOB)["count"] == 1

    asyncio.run(story())


def test_a_full_disk_keeps_the_count_and_the_next_refusal_tells(make_desk):
    async def story():
        desk = make_desk()
        refused = desk.refused
        write = desk.store.write

        async def full(_):
            raise errors.unavailable("cannot store anything: the disk is full")

        desk.store.write = full
        await refused.add(ANN, "one:443", "not allowed")
        desk.store.write = write
        await refused.add(ANN, "two:443", "not allowed")
        assert refused.view(ANN)["count"] == 2
        assert await facts(desk) == [(ANN, "two:443: not allowed")]

    asyncio.run(story())
