"""What the fleet makes of orders: stop, kill, start, restart, and the doors that go with them."""

from __future__ import annotations

import asyncio
import json

from hyperhive.adapters.sandbox.memory import Mode
from hyperhive.domain import agents
from hyperhive.domain.agents import Phase
from hyperhive.wire import views
from rigs.fleet_story import end_sandbox, spawn, told
from rigs.hive_tester import OLGA


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


def test_who_was_stopped_is_starting_and_who_ran_is_restarting(play):
    async def doing(host):
        return views.agent_view(await host.row("bob"), 0)["doing"]

    async def story(host):
        await host.is_in("manager", Phase.RUNNING)
        host.world.mode = Mode.NEVER
        await host.ask(lambda d: d.review.spawn(OLGA, "bob", ""))
        await host.is_in("bob", Phase.STARTING)
        assert await doing(host) == "starting"
        host.world.mode = Mode.NORMAL
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.is_in("bob", Phase.RUNNING)
        assert await doing(host) is None
        host.world.mode = Mode.NEVER
        await host.ask(lambda d: d.fleet.restart(OLGA, "bob"))
        await host.is_in("bob", Phase.STARTING)
        assert await doing(host) == "restarting"
        await host.ask(lambda d: d.fleet.stop(OLGA, "bob"))
        await host.is_in("bob", Phase.STOPPED)
        assert await doing(host) is None
        await host.ask(lambda d: d.fleet.start(OLGA, "bob"))
        await host.is_in("bob", Phase.STARTING)
        assert await doing(host) == "starting"

    play(story)
