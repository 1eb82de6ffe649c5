"""The fleet loop and its workers, from an approval to a sandbox and through a hard life."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json

import pytest

from hyperhive.adapters.sandbox.memory import Mode
from hyperhive.domain import agents, ids
from hyperhive.domain.agents import Phase, Wanted
from hyperhive.domain.approvals import ApprovalState
from hyperhive.runtime import agent_worker
from rigs.hive_tester import OLGA, HiveTester


async def spawn(host: HiveTester, name: str = "bob") -> agents.Agent:
    """A running agent, spawned by the operator."""
    await host.ask(lambda d: d.review.spawn(OLGA, name, ""))
    return await host.is_in(name, Phase.RUNNING)


async def end_sandbox(host: HiveTester, name: str, code: int = 1) -> None:
    """The payload ends by itself."""
    row = await host.row(name)
    host.world.end(host.world.running(row.id), code)


async def sleeper(host: HiveTester) -> None:
    """Wait until somebody sleeps on the clock: a backoff, a limit."""
    while not host.clock.sleepers:
        await asyncio.sleep(0)


async def told(host: HiveTester, event: str) -> list[dict[str, object]]:
    """What the manager was told of that kind, oldest first."""
    bodies = [json.loads(body) for body in await host.events_to("manager")]
    return [body for body in bodies if body["event"] == event]


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
        assert await told(host, "spawned") == [
            {"event": "spawned", "agent": "bob", "ok": True, "note": ""}
        ]
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


def test_two_restarts_at_once_are_one(play):
    async def story(host):
        bob = await spawn(host)
        starts = len(host.world.started)

        async def twice(daemon):
            await daemon.fleet.restart(OLGA, "bob", "first")
            await daemon.fleet.restart(OLGA, "bob", "second")

        await host.ask(twice)
        again = await host.until(
            lambda tx: (r := tx.find_agent("bob")).running_epoch == r.epoch == 3 and r
        )
        assert again.sandbox != bob.sandbox
        assert len(host.world.started) == starts + 1
        assert again.start_reason == "second (by operator)"

    play(story)


def test_what_is_stopped_stays_stopped_also_for_the_next_daemon(play):
    async def story(host):
        bob = await spawn(host)
        await host.ask(lambda d: d.fleet.stop(OLGA, "bob"))
        stopped = await host.is_in("bob", Phase.STOPPED)
        assert (stopped.sandbox, stopped.turn_state) == (None, agents.TurnState.OFFLINE)
        assert not host.world.is_alive(bob.sandbox)
        await host.again()
        await host.until(lambda tx: tx.find_agent("manager").phase is Phase.RUNNING)
        await spawn(host, "eve")
        assert (await host.row("bob")).phase is Phase.STOPPED
        # Stop and kill never kick (S5).
        assert await host.events_to("bob") == []

    play(story)


def test_a_killed_agent_gives_its_mail_back_and_gets_it_again_marked(play):
    async def story(host):
        begun = asyncio.Event()

        async def hangs(turn):
            if not turn.message["redelivered"] and not turn.event:
                begun.set()
                await asyncio.get_running_loop().create_future()

        host.brains["bob"] = hangs
        await spawn(host)
        sent = await host.mails("bob", "hello")
        await begun.wait()
        await host.ask(lambda d: d.fleet.kill(OLGA, "bob", "it hangs"))
        killed = await host.is_in("bob", Phase.STOPPED)
        assert killed.phase_note == "killed by operator: it hangs"
        assert await told(host, "killed") == [{"event": "killed", "agent": "bob"}]
        await host.ask(lambda d: d.fleet.start(OLGA, "bob"))
        await host.until(lambda tx: tx.get_message(sent.id).state.value == "handled")
        came = [turn.message["redelivered"] for turn in host.turns if turn.name == "bob"][:2]
        assert came == [False, True]
        (kick,) = await host.events_to("bob")
        assert json.loads(kick)["reason"] == "started (by operator)"

    play(story)


def test_doors_open_before_the_start_and_close_with_the_end(play):
    async def story(host):
        await host.is_in("manager", Phase.RUNNING)
        host.doors_log.clear()
        await spawn(host)
        assert host.doors_log == ["open bob", "attach bob"]
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.until(lambda tx: (r := tx.find_agent("bob")).running_epoch == 2 and r)
        assert host.doors_log[2:] == ["close bob", "open bob", "attach bob"]
        await end_sandbox(host, "bob")
        await host.is_in("bob", Phase.CRASHED)
        assert host.doors_log[5:] == ["close bob"]
        host.world.mode = Mode.BAD
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.until(lambda tx: "told to be bad" in tx.find_agent("bob").phase_note)
        assert host.doors_log[6:] == ["open bob", "close bob"]

    play(story)


# --- daemons that come and go ---------------------------------------------------------------


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
