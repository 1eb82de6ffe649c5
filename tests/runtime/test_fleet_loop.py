"""The fleet loop and its workers: from an approval to a sandbox, and through failures."""

from __future__ import annotations

import asyncio
import datetime
import json

import pytest

from hyperhive.adapters.sandbox.memory import Mode
from hyperhive.domain import agents, ids
from hyperhive.domain.agents import Phase, Wanted
from hyperhive.domain.approvals import ApprovalState
from hyperhive.runtime import agent_worker
from rigs.fleet_story import end_sandbox, sleeper, spawn, told
from rigs.hive_tester import OLGA


def test_the_first_start_of_a_hive_makes_its_manager_and_the_second_does_not(play):
    async def story(host):
        first = await host.is_in("manager", Phase.RUNNING)
        assert first.role is agents.Role.MANAGER
        await host.again()
        assert await host.look(lambda tx: len(tx.list_agents())) == 1
        assert (await host.row("manager")).id == first.id

    play(story)


def test_an_approved_spawn_becomes_a_running_agent_and_the_manager_hears_of_it(play):
    async def story(host):
        bob = await spawn(host)
        assert (bob.running_epoch, bob.crashes, bob.phase_note) == (1, 0, "")
        (approval,) = await host.look(lambda tx: tx.list_approvals())
        assert (approval.state, approval.agent_id) == (ApprovalState.DEPLOYED, bob.id)
        (heard,) = await told(host, "spawned")
        seed = await host.place.repos.main(bob.id)
        assert heard == {
            "event": "spawned", "agent": "bob", "ok": True, "note": "",
            "sha": seed, "tag": "deployed/0",
        }  # fmt: skip
        # A first start is no restart.
        assert await host.events_to("bob") == []

    play(story)


def test_a_spawn_that_cannot_start_fails_its_approval_and_stays_down(play):
    async def story(host):
        await host.is_in("manager", Phase.RUNNING)
        host.world.mode = Mode.BAD
        await host.ask(lambda d: d.review.spawn(OLGA, "bob", ""))
        bob = await host.is_in("bob", Phase.STOPPED)
        bob = await host.until(lambda tx: (r := tx.find_agent("bob")).crashes and r)
        await host.is_in("bob", Phase.STOPPED)
        assert bob.wanted is Wanted.STOPPED
        (approval,) = await host.look(lambda tx: tx.list_approvals())
        assert approval.state is ApprovalState.FAILED
        assert "told to be bad" in approval.note
        (event,) = await told(host, "spawned")
        assert (event["ok"], event["note"]) == (False, approval.note)
        host.world.mode = Mode.NORMAL
        await host.ask(lambda d: d.fleet.start(OLGA, "bob"))
        await host.is_in("bob", Phase.RUNNING)
        # It has never had a turn: there is nothing to go on with.
        assert await host.events_to("bob") == []

    play(story)


def test_a_spawn_whose_directories_cannot_be_made_fails_too(play):
    async def story(host):
        await host.is_in("manager", Phase.RUNNING)
        host.refuse_spec = "cannot make the directories of bob: the disk is on fire"
        await host.ask(lambda d: d.review.spawn(OLGA, "bob", ""))
        (approval,) = await host.until(lambda tx: tx.list_approvals(states=[ApprovalState.FAILED]))
        assert "on fire" in approval.note
        host.refuse_spec = ""
        await asyncio.sleep(0)
        host.clock.advance(60)
        await host.is_in("bob", Phase.STOPPED)

    play(story)


def test_two_spawns_at_once_get_different_slots_and_both_run(play):
    async def story(host):
        await asyncio.gather(spawn(host, "bob"), spawn(host, "eve"))
        rows = await host.look(lambda tx: tx.list_agents())
        assert len({row.slot for row in rows}) == 3

    play(story)


def test_a_crash_is_told_and_mended_after_a_growing_pause(play):
    async def story(host):
        bob = await spawn(host)
        await host.mails("bob", "hello")
        await host.until(lambda tx: tx.list_turns(bob.id) and tx.count_queued(bob.id) == 0)
        for number, pause in enumerate((1, 2, 4), 1):
            await end_sandbox(host, "bob", 9)
            crashed = await host.is_in("bob", Phase.CRASHED)
            assert (crashed.crashes, crashed.phase_note) == (number, "exit code 9")
            assert crashed.sandbox is None
            assert crashed.retry_at == host.clock.now() + datetime.timedelta(seconds=pause)
            await sleeper(host)
            host.clock.advance(pause - 0.5)
            await asyncio.sleep(0)
            assert (await host.row("bob")).phase is Phase.CRASHED
            host.clock.advance(0.5)
            await host.is_in("bob", Phase.RUNNING)
        crashes = await told(host, "container_crash")
        assert [event["agent"] for event in crashes] == ["bob"] * 3
        kicks = [json.loads(body) for body in await host.events_to("bob")]
        assert [kick["event"] for kick in kicks] == ["restarted"] * 3
        assert "restarted after a failure: exit code 9" in kicks[0]["reason"]

    play(story)


def test_five_crashes_in_a_row_halt_an_agent_and_the_operator_is_told(play):
    async def story(host):
        await spawn(host)
        host.world.mode = Mode.DIES
        await end_sandbox(host, "bob")
        for _ in range(4):
            await host.is_in("bob", Phase.CRASHED)
            await sleeper(host)
            host.clock.advance(60)
            await host.is_in("bob", Phase.STARTING)
        halted = await host.is_in("bob", Phase.HALTED)
        assert (halted.crashes, halted.retry_at, halted.wanted) == (5, None, Wanted.RUNNING)
        inbox = await host.look(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
        assert ["bob is halted after 5 failures in a row" in mail.body for mail in inbox] == [True]
        # Neither time nor a new daemon wakes it: a person does.
        host.clock.advance(86400)
        await host.again()
        await host.is_in("manager", Phase.RUNNING)
        assert (await host.row("bob")).phase is Phase.HALTED
        host.world.mode = Mode.NORMAL
        await host.ask(lambda d: d.fleet.start(OLGA, "bob"))
        assert (await host.is_in("bob", Phase.RUNNING)).crashes == 0

    play(story)


@pytest.mark.parametrize(("minutes", "crashes"), [(9, 2), (11, 1)])
def test_ten_healthy_minutes_earn_a_fresh_count(play, minutes, crashes):
    async def story(host):
        await spawn(host)
        await end_sandbox(host, "bob")
        await host.is_in("bob", Phase.CRASHED)
        await sleeper(host)
        host.clock.advance(1)
        await host.is_in("bob", Phase.RUNNING)
        host.clock.advance(minutes * 60)
        await end_sandbox(host, "bob")
        assert (await host.is_in("bob", Phase.CRASHED)).crashes == crashes

    play(story)


def test_a_host_that_refuses_for_a_while_is_tried_again(play):
    async def story(host):
        await spawn(host)
        host.world.mode = Mode.BAD
        await end_sandbox(host, "bob")
        for _ in range(2):
            await host.is_in("bob", Phase.CRASHED)
            await sleeper(host)
            host.clock.advance(10)
            await host.is_in("bob", Phase.STARTING)
        failed = await host.is_in("bob", Phase.CRASHED)
        assert (failed.crashes, failed.phase_note) == (
            3, "cannot start the sandbox of bob: told to be bad",
        )  # fmt: skip
        # A person need not wait for the end of the pause.
        host.world.mode = Mode.NORMAL
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.is_in("bob", Phase.RUNNING)

    play(story)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_start_that_never_comes_back_can_be_called_off(play, verb):
    async def story(host):
        await host.is_in("manager", Phase.RUNNING)
        host.world.mode = Mode.NEVER
        await host.ask(lambda d: d.review.spawn(OLGA, "bob", ""))
        await host.is_in("bob", Phase.STARTING)
        await host.ask(lambda d: getattr(d.fleet, verb)(OLGA, "bob"))
        await host.is_in("bob", Phase.STOPPED)
        (approval,) = await host.look(lambda tx: tx.list_approvals())
        assert approval.state is ApprovalState.FAILED
        assert host.doors_log[-1] == "close bob"

    play(story)


def test_a_start_that_never_comes_back_fails_in_the_end(play):
    async def story(host):
        await spawn(host)
        host.world.mode = Mode.NEVER
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.is_in("bob", Phase.STARTING)
        await sleeper(host)
        host.clock.advance(agent_worker.START_SECONDS)
        failed = await host.is_in("bob", Phase.CRASHED)
        assert "it has not begun after 120 s" in failed.phase_note
        # And a restart ends a start that hangs.
        host.clock.advance(1)
        await host.is_in("bob", Phase.STARTING)
        host.world.mode = Mode.NORMAL
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.is_in("bob", Phase.RUNNING)

    play(story)
