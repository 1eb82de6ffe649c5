"""What is wanted of agents, and who may want it."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.domain import agents, errors


def test_start_stop_restart_change_only_what_is_wanted(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        stopped = await desk.fleet.stop(desk.olga, "bob")
        assert (stopped.wanted, stopped.phase) == (agents.Wanted.STOPPED, bob.phase)
        started = await desk.fleet.restart(desk.olga, "bob", "new prompt")
        assert (started.wanted, started.epoch) == (agents.Wanted.RUNNING, bob.epoch + 1)
        assert started.start_reason == "new prompt (by operator)"

    asyncio.run(story())


def test_starting_what_runs_changes_nothing(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        number = desk.store.number()
        assert await desk.fleet.start(desk.olga, "bob") == bob
        assert desk.store.number() == number

    asyncio.run(story())


@pytest.mark.parametrize("verb", ["start", "kill", "restart", "stop"])
def test_the_manager_is_out_of_reach_of_agents(make_desk, verb):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        before = await desk.row("manager")
        with pytest.raises(errors.HiveError, match="only the operator may") as caught:
            await getattr(desk.fleet, verb)(manager, "manager")
        assert caught.value.kind is errors.ErrorKind.FORBIDDEN
        assert await desk.row("manager") == before

    asyncio.run(story())


@pytest.mark.parametrize("verb", ["start", "kill", "restart", "stop"])
def test_plain_agents_may_not_order_others(make_desk, verb):
    async def story():
        desk = make_desk()
        await desk.agent("eve")
        with pytest.raises(errors.HiveError, match="only the manager may"):
            await getattr(desk.fleet, verb)(await desk.caller("bob"), "eve")

    asyncio.run(story())


def test_status_is_one_short_line(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.caller("bob")
        assert (await desk.fleet.set_status(bob, " reading\n the  docs ")).status == (
            "reading the docs"
        )
        with pytest.raises(errors.HiveError, match="201 characters"):
            await desk.fleet.set_status(bob, "x" * 201)
        with pytest.raises(errors.HiveError, match="cannot act as an agent"):
            await desk.fleet.set_status(desk.olga, "x")

    asyncio.run(story())


def test_an_unknown_agent_is_not_found(make_desk):
    async def story():
        desk = make_desk()
        with pytest.raises(errors.HiveError, match="there is none of that name"):
            await desk.fleet.start(desk.olga, "nobody")

    asyncio.run(story())


def test_peers_do_not_list_oneself(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        bob = await desk.caller("bob")
        assert [peer["name"] for peer in await desk.fleet.peers(bob)] == ["manager"]
        assert (await desk.fleet.whoami(bob))["role"] == "agent"

    asyncio.run(story())
