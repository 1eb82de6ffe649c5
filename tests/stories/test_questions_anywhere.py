"""Questions and reminders when the daemon dies: each is asked, ended and told exactly once.

The daemon dies hard right after its n-th deed, for every n, as in `test_restart_anywhere`.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import pathlib

import pytest

from hyperhive import ports
from hyperhive.domain import agents, ids
from hyperhive.domain.messages import MessageState
from hyperhive.domain.questions import QuestionState
from hyperhive.services import waiting
from rigs.fake_harness import Turn
from rigs.fuse import Fuse
from rigs.hive_tester import OLGA, HiveTester, hive

pytestmark = pytest.mark.timeout(110)


async def manager(turn: Turn) -> None:
    """Asks, is reminded of the answer, asks again and hears that nobody answered."""
    event = turn.event
    if turn.sender == "operator":
        await turn.asks("operator", "tea?")
    elif event.get("answer") == "[expired]":
        await turn.sends("operator", f"nobody answered {event['id']}: {event['question']}")
    elif event.get("event") == "operator_answered":
        await turn.reminds(f"it was {event['answer']}", 3600.0)
    elif event.get("event") == "reminder":
        await turn.asks("operator", f"still? {event['text']}", ttl_seconds=1800.0)


async def story(host: HiveTester) -> None:
    await host.mails("manager", "begin", key="first")
    await host.until(lambda tx: tx.list_open_questions())
    await host.ask(lambda d: d.asking.answer(OLGA, 1, text="green"))
    (reminder,) = await host.until(lambda tx: tx.list_reminders())
    host.clock.advance(3599)
    assert await host.look(lambda tx: tx.list_reminders()) == [reminder]
    host.clock.advance(1)
    await host.until(lambda tx: tx.list_open_questions())
    host.clock.advance(1800)
    await host.gets("nobody answered 2: still? it was green")
    await host.until(at_rest)


def at_rest(tx: ports.ReadTx) -> bool:
    """Whether nothing is left to do for anybody."""
    open_mail = tx.list_messages(states=[MessageState.QUEUED, MessageState.LEASED], limit=1000)
    return all(row.turn_state is agents.TurnState.IDLE for row in tx.list_agents()) and all(
        message.recipient == ids.OPERATOR for message in open_mail
    )


@dataclasses.dataclass
class End:
    """What is left when the story is over."""

    questions: list[tuple[str, QuestionState, str]]
    told: collections.Counter[str]
    moments: int


async def tell(path: pathlib.Path, *, durable: bool, die_at: int | None) -> End:
    """Tell the story with a daemon that dies once, and look at what is left."""
    async with (
        asyncio.timeout(15),
        hive(path, durable=durable, brains={"manager": manager}) as host,
    ):
        fuse = Fuse(die_at)
        await host.up(fuse)
        async with asyncio.TaskGroup() as group:
            told = group.create_task(story(host))
            if die_at is not None:
                await waiting.first(fuse.has_blown.wait(), asyncio.wait({told}))
                await host.crash()
                await host.up()
            await told
        assert await host.look(lambda tx: tx.list_reminders()) == []
        found = await host.look(lambda tx: tx.list_questions())
        bodies = [json.loads(body) for body in await host.events_to("manager")]
        return End(
            [(q.text, q.state, q.answer) for q in found],
            collections.Counter(f"{b['event']} {b.get('id')}" for b in bodies),
            fuse.count,
        )


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_is_asked_and_told_once_wherever_the_daemon_dies(
    tmp_path: pathlib.Path, kind: str
) -> None:
    def once(die_at: int | None) -> End:
        path = tmp_path / str(die_at)
        path.mkdir()
        return asyncio.run(tell(path, durable=kind == "sqlite", die_at=die_at))

    usual = once(None)
    assert usual.questions == [
        ("still? it was green", QuestionState.EXPIRED, "[expired]"),
        ("tea?", QuestionState.ANSWERED, "green"),
    ]
    assert usual.told["operator_answered 1"] == usual.told["operator_answered 2"] == 1
    assert usual.told["reminder 1"] == 1
    assert usual.moments > 20
    for moment in range(1, usual.moments + 1, 3 if kind == "sqlite" else 1):
        try:
            end = once(moment)
            assert (end.questions, end.told) == (usual.questions, usual.told)
        except BaseException as error:
            error.add_note(f"the daemon died at moment {moment} of {usual.moments}")
            raise
