"""Budgets and loops when the daemon dies: everybody goes on, and the operator is told once a hold.

The daemon dies hard right after its n-th deed, for every n, as in `test_restart_anywhere`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.domain import agents, events, ids
from hyperhive.domain.budgets import Amount
from hyperhive.domain.messages import MessageState
from hyperhive.services import budgets, holds, waiting
from rigs.fake_harness import Turn
from rigs.fuse import Fuse
from rigs.hive_tester import HiveTester, hive

pytestmark = pytest.mark.timeout(110)

DAY, MINUTES = 86_400.0, 10.0


def at_rest(tx: ports.ReadTx) -> bool:
    """Whether nothing is left to do for anybody."""
    open_mail = tx.list_messages(states=[MessageState.QUEUED, MessageState.LEASED], limit=1000)
    return all(row.turn_state is agents.TurnState.IDLE for row in tx.list_agents()) and all(
        message.recipient == ids.OPERATOR for message in open_mail
    )


def held(tx: ports.ReadTx) -> list[holds.Hold]:
    return [hold for agent in tx.list_agents() for hold in holds.found(tx, agent.id)]


async def lets_time_pass(host: HiveTester, seconds: float) -> int:
    """Until all is done, however many holds it takes; how many times it passed."""
    passes = 0
    while await host.until(lambda tx: (at_rest(tx) and ["done"]) or held(tx)) != ["done"]:
        passes += 1
        assert passes < 50, "it never ends"
        host.clock.advance(seconds)
        # Whoever was only about to sleep when the clock moved is woken by the next pass.
        for _ in range(100):
            await asyncio.sleep(0)
    return passes


# --- a budget ---------------------------------------------------------------------------


async def spender(turn: Turn) -> None:
    await turn.spends("claude-haiku-4-5", 100)
    await turn.sends("operator", f"did {turn.body}")


async def spend(host: HiveTester) -> None:
    for number in range(4):
        await host.mails("manager", f"work {number}", key=f"k{number}")
    assert await lets_time_pass(host, DAY) >= 1
    for number in range(4):
        await host.gets(f"did work {number}")


# --- a loop -----------------------------------------------------------------------------


async def manager(turn: Turn) -> None:
    """Gets bob, and thanks him for thanking."""
    if turn.sender == "operator":
        await turn.requests("bob", "to talk to")
    elif turn.event.get("event") == "spawned":
        await turn.sends("bob", "thanks 0")
    elif turn.sender == "bob":
        number = int(turn.body.split()[1])
        if number < 11:
            await turn.sends("bob", f"thanks {number + 1}")
        else:
            await turn.sends("operator", "enough")


async def bob(turn: Turn) -> None:
    if turn.sender == "manager":
        await turn.sends("manager", f"thanks {int(turn.body.split()[1]) + 1}")


async def talk(host: HiveTester) -> None:
    await host.mails("manager", "get somebody to talk to", key="first")
    await host.approves("bob")
    await host.until(lambda tx: held(tx) or any("enough" in m for m in bodies(tx)))
    assert await lets_time_pass(host, MINUTES * 60) >= 1
    await host.gets("enough")


def bodies(tx: ports.ReadTx) -> list[str]:
    return [message.body for message in tx.list_messages(recipient=ids.OPERATOR, limit=1000)]


# --- the same end -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Story:
    tell: Callable[[HiveTester], Awaitable[None]]
    brains: dict[str, Callable[[Turn], Awaitable[None]]]
    reason: holds.Reason
    settings: dict[str, Any]


SPEND = Story(
    spend, {"manager": spender}, holds.Reason.BUDGET,
    {"limits": budgets.Limits(agent=Amount(tokens=250))},
)  # fmt: skip
TALK = Story(talk, {"manager": manager, "bob": bob}, holds.Reason.LOOP, {"loops": (6, MINUTES)})


async def run(path: pathlib.Path, story: Story, die_at: int | None) -> int:
    path.mkdir()
    async with asyncio.timeout(20), hive(path, brains=story.brains, **story.settings) as host:
        fuse = Fuse(die_at)
        await host.up(fuse)
        async with asyncio.TaskGroup() as group:
            told = group.create_task(story.tell(host))
            if die_at is not None:
                await waiting.first(fuse.has_blown.wait(), asyncio.wait({told}))
                await host.crash()
                await host.up()
            await told
        await host.until(at_rest)
        facts = await host.look(lambda tx: tx.facts_after(0, 100_000))
        said = [fact.event.text for fact in facts if fact.event.kind is events.EventKind.AGENT_HELD]
        freed = [f for f in facts if f.event.kind is events.EventKind.AGENT_LET_GO]
        letters = [text for text in await host.look(bodies) if "hive go-on" in text]
        each = 2 if story.reason is holds.Reason.LOOP else 1
        assert said and all(text.startswith(story.reason.value) for text in said)
        assert len(said) == len(freed) == each * len(letters)
        assert await host.look(held) == []
        dead = await host.look(lambda tx: tx.list_messages(states=[MessageState.DEAD]))
        assert dead == []
    return fuse.count


@pytest.mark.parametrize(("story", "step"), [(SPEND, 1), (TALK, 3)], ids=["budget", "loop"])
def test_everybody_goes_on_wherever_the_daemon_dies(
    tmp_path: pathlib.Path, story: Story, step: int
) -> None:
    usual = asyncio.run(run(tmp_path / "usual", story, None))
    assert usual > 20
    for moment in range(1, usual + 1, step):
        try:
            asyncio.run(run(tmp_path / str(moment), story, moment))
        except BaseException as error:
            error.add_note(f"the daemon died at moment {moment} of {usual}")
            raise
