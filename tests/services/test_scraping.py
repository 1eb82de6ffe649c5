"""Figures for monitoring, in the format of Prometheus, and the token that may read them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from typing import Any

import pytest
from prometheus_client import parser

from hyperhive import ports
from hyperhive.domain import access, errors, ids, turns
from hyperhive.edges.dashboard import metrics
from hyperhive.services import metering, scraping
from rigs.store_world import make_turn


def scrape(desk: Any) -> tuple[scraping.Scraping, metering.Metering]:
    meter = metering.Metering()
    return scraping.Scraping(desk.store, desk.clock, meter, desk.refused, "1.2"), meter


async def samples(service: scraping.Scraping) -> dict[tuple[str, tuple[str, ...]], float]:
    text = metrics.render(await service.look()).decode()
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in parser.text_string_to_metric_families(text)
        for one in family.samples
    }


def test_the_token_is_shown_once_kept_as_a_hash_and_ended(make_desk) -> None:
    async def story() -> None:
        desk = make_desk()
        service, _ = scrape(desk)
        assert not await service.admits("")
        with pytest.raises(errors.HiveError) as caught:
            await service.revoke(desk.olga)
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        first = await service.renew(desk.olga)
        assert await service.admits(first)
        assert not await service.admits(first + "x")
        kept = await desk.store.read(lambda tx: tx.list_values(""))
        assert first not in str(kept)
        facts = await desk.store.read(lambda tx: tx.facts_after(0, 100))
        assert first not in str(facts)
        second = await service.renew(desk.olga)
        assert not await service.admits(first)
        assert await service.admits(second)
        await service.revoke(desk.olga)
        assert not await service.admits(second)
        kinds = [fact.event.kind.value for fact in facts]
        assert kinds == ["MetricsTokenChanged"]

    asyncio.run(story())


def test_no_agent_makes_or_ends_a_token(make_desk) -> None:
    async def story() -> None:
        desk = make_desk()
        service, _ = scrape(desk)
        manager = await desk.caller("manager")
        assert isinstance(manager, access.Caller)
        for ask in (service.renew, service.revoke):
            with pytest.raises(errors.HiveError) as caught:
                await ask(manager)
            assert caught.value.kind is errors.ErrorKind.FORBIDDEN

    asyncio.run(story())


def test_every_figure_is_there(make_desk) -> None:
    async def story() -> None:
        desk = make_desk()
        service, meter = scrape(desk)
        coder = await desk.agent("coder")
        await desk.agent("manager")
        await desk.mail.send(desk.olga, "coder", "one")
        await desk.mail.send(desk.olga, "coder", "two")
        now = desk.clock.now()
        used = turns.Usage(10, 2, 30, 4, 0.5, 44)

        def work(tx: ports.Tx) -> None:
            for name, outcome in (("1", "ok"), ("2", "ok"), ("3", "failed")):
                row = dataclasses.replace(
                    make_turn(name, coder.id), started_at=now, model='big "m"\n',
                    ended_at=now + datetime.timedelta(seconds=2), tool_calls=3,
                    outcome=turns.Outcome(outcome), usage=used,
                )  # fmt: skip
                tx.insert_turn(row)

        await desk.store.write(work)
        meter.add(coder.id, used)
        await desk.refused.add(coder.id, "evil.test:443", "not allowed")
        desk.clock.advance(90.0)
        seen = await samples(service)
        model = 'big "m"\n'
        for name, labels, value in (
            ("hive_info", ("1.2",), 1),
            ("hive_store_number", (), desk.store.number()),
            ("hive_agents", ("running",), 2),
            ("hive_agents", ("crashed",), 0),
            ("hive_agent_turn_states", ("offline",), 2),
            ("hive_turns_total", ("coder", model, "ok"), 2),
            ("hive_turns_total", ("coder", model, "failed"), 1),
            ("hive_turn_tokens_total", ("coder", "cache_read", model), 90),
            ("hive_turn_tokens_total", ("coder", "output", model), 6),
            ("hive_turn_cost_usd_total", ("coder", model), 1.5),
            ("hive_turn_tool_calls_total", ("coder", model), 9),
            ("hive_turn_seconds_sum", ("coder", model), 6),
            ("hive_turn_seconds_count", ("coder", model), 3),
            ("hive_mail_queued", ("coder",), 2),
            ("hive_mail_oldest_seconds", ("coder",), 90),
            ("hive_mail_queued", ("manager",), 0),
            ("hive_mail_oldest_seconds", ("operator",), 0),
            ("hive_approvals", ("pending",), 0),
            ("hive_builds", ("failed",), 0),
            ("hive_deploys", ("checking",), 0),
            ("hive_gateway_requests_total", ("coder",), 1),
            ("hive_gateway_tokens_total", ("coder", "input"), 10),
            ("hive_egress_refused_total", ("coder",), 1),
            ("hive_egress_refused_total", ("manager",), 0),
        ):
            assert seen[name, labels] == value, name
        assert seen["process_resident_memory_bytes", ()] > 1e6

    asyncio.run(story())


def test_what_only_grows_stays_when_turns_are_swept(make_desk) -> None:
    async def story() -> None:
        desk = make_desk()
        service, _ = scrape(desk)
        coder = await desk.agent("coder")
        began = desk.clock.now()

        def work(tx: ports.Tx) -> None:
            for name in "123":
                row = dataclasses.replace(
                    make_turn(name, coder.id), started_at=began, ended_at=began,
                    outcome=turns.Outcome.OK,
                )  # fmt: skip
                tx.insert_turn(row)

        await desk.store.write(work)
        before = (await samples(service))["hive_turns_total", ("coder", "m", "ok")]
        later = began + datetime.timedelta(days=1)
        await desk.store.write(lambda tx: tx.delete_turns(ids.AgentId(coder.id), later, 9))
        assert len(await desk.store.read(lambda tx: tx.list_turns(coder.id))) == 1
        assert (await samples(service))["hive_turns_total", ("coder", "m", "ok")] == before == 3

    asyncio.run(story())
