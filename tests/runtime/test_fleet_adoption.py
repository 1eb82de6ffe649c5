"""Daemons come and go, and the sandboxes of the fleet stay."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from hyperhive.domain.agents import Phase, Wanted
from rigs.fleet_story import end_sandbox, sleeper, spawn, told
from rigs.hive_tester import OLGA


def test_a_running_sandbox_is_adopted_in_the_middle_of_its_turn(play):
    async def story(host):
        go_on, begun = asyncio.Event(), asyncio.Event()

        async def slow(turn):
            begun.set()
            await go_on.wait()
            await turn.sends("operator", "done")

        host.brains["bob"] = slow
        bob = await spawn(host)
        sent = await host.mails("bob", "do something long")
        await begun.wait()
        await host.again()
        await host.until(lambda tx: tx.find_agent("bob").phase is Phase.RUNNING)
        go_on.set()
        await host.gets("done")
        await host.until(lambda tx: tx.get_message(sent.id).state.value == "handled")
        after = await host.row("bob")
        assert (after.sandbox, after.epoch, after.crashes) == (bob.sandbox, bob.epoch, 0)
        assert [turn.message["redelivered"] for turn in host.turns if turn.name == "bob"] == [False]
        assert host.doors_log[-2:] in (
            ["open bob", "attach bob"], ["attach bob", "attach manager"],
            ["attach manager", "attach bob"],
        )  # fmt: skip
        assert await host.events_to("bob") == []

    play(story)


def test_the_end_of_an_adopted_sandbox_is_noticed(play):
    async def story(host):
        await spawn(host)
        await host.again()
        await host.until(lambda _: host.doors_log[-1].startswith("attach") or None)
        await end_sandbox(host, "bob")
        assert (await host.is_in("bob", Phase.CRASHED)).crashes == 1

    play(story)


def test_a_sandbox_that_cannot_be_adopted_is_ended_and_started_anew(play):
    async def story(host):
        bob = await spawn(host)
        await host.crash()
        host.refuse_spec = "cannot make the directories: the disk is read-only"
        await host.up()
        await host.is_in("bob", Phase.CRASHED)
        assert not host.world.is_alive(bob.sandbox)
        host.refuse_spec = ""
        await sleeper(host)
        host.clock.advance(1)
        assert (await host.is_in("bob", Phase.RUNNING)).sandbox != bob.sandbox

    play(story)


def test_a_sandbox_that_ended_while_the_daemon_was_away_is_no_crash(play):
    async def story(host):
        bob = await spawn(host)
        await host.crash()
        host.world.end(host.world.running(bob.id), 137)
        await host.up()
        after = await host.until(
            lambda tx: (r := tx.find_agent("bob")).sandbox not in (None, bob.sandbox) and r
        )
        assert (after.phase, after.crashes) == (Phase.RUNNING, 0)
        assert after.start_reason.startswith("it had ended while the hive was down")
        assert await told(host, "container_crash") == []

    play(story)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING])
@pytest.mark.parametrize("alive", [True, False], ids=["a sandbox is left", "nothing is left"])
def test_what_a_dead_daemon_left_half_done_is_ended_and_done_again(play, phase, alive):
    async def story(host):
        bob = await spawn(host)
        await host.crash()
        # As if it had died between its deed and the note of it.
        left = dataclasses.replace(bob, phase=phase)
        if phase is Phase.STARTING:
            left = dataclasses.replace(left, sandbox=None, running_epoch=0)
        host.tables.agents[bob.id] = left
        if not alive:
            host.world.end(host.world.running(bob.id), 137)
        await host.up()
        after = await host.until(
            lambda tx: (r := tx.find_agent("bob")).sandbox not in (None, bob.sandbox) and r
        )
        assert (after.phase, after.crashes, after.running_epoch) == (Phase.RUNNING, 0, bob.epoch)
        assert not host.world.is_alive(bob.sandbox)

    play(story)


def test_a_sandbox_left_by_a_start_that_nobody_wants_is_ended(play):
    async def story(host):
        bob = await spawn(host)
        await host.crash()
        host.tables.agents[bob.id] = dataclasses.replace(
            bob, phase=Phase.STARTING, sandbox=None, running_epoch=0, wanted=Wanted.STOPPED
        )
        await host.up()
        await host.is_in("bob", Phase.STOPPED)
        assert not host.world.is_alive(bob.sandbox)

    play(story)


def test_going_down_with_the_agents_keeps_what_is_wanted(play):
    async def story(host):
        bob = await spawn(host)
        await host.mails("bob", "hello")
        await host.until(lambda tx: tx.list_turns(bob.id) and tx.count_queued(bob.id) == 0)
        await spawn(host, "eve")
        await host.ask(lambda d: d.fleet.stop(OLGA, "eve"))
        await host.is_in("eve", Phase.STOPPED)
        await host.down(agents_too=True)
        assert not host.world.is_alive(bob.sandbox)
        await host.up()
        await host.until(lambda tx: (r := tx.find_agent("bob")).phase is Phase.RUNNING and r)
        assert (await host.row("eve")).phase is Phase.STOPPED
        (kick,) = await host.events_to("bob")
        assert json.loads(kick)["reason"] == "the hive was stopped and started again"

    play(story)


def test_going_down_without_the_agents_leaves_them_running(play):
    async def story(host):
        bob = await spawn(host)
        await host.down()
        assert host.world.is_alive(bob.sandbox)
        await host.up()
        await host.until(lambda _: "attach bob" in host.doors_log[2:] or None)
        assert (await host.row("bob")).sandbox == bob.sandbox

    play(story)
