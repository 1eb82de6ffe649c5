"""Restart anywhere: whatever moment the daemon dies at, the story comes to the same end.

The daemon dies hard right after its n-th deed (a commit, a start or an end of a sandbox, an
opened door), for every n; what lives on is the store, the sandboxes and the people.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import pathlib
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.domain import agents, errors, ids
from hyperhive.domain.messages import MessageState
from hyperhive.services import waiting
from rigs.fake_harness import Turn
from rigs.fuse import Fuse
from rigs.hive_tester import HiveTester, hive

pytestmark = pytest.mark.timeout(110)


async def manager(turn: Turn) -> None:
    """Gets a helper when asked, gives it the work, reports what it says, ends and starts it."""
    event = turn.event
    if turn.body == "end bob":
        await turn.kills("bob")
    elif turn.body == "start bob":
        await turn.starts("bob")
    elif turn.sender == "operator":
        # Told again after a power cut: then bob has been asked for, or is there.
        with contextlib.suppress(errors.HiveError):
            await turn.requests("bob", "to count")
    elif event.get("event") == "spawned":
        await turn.sends("bob", f"count to three, {event['agent']}")
    elif turn.sender == "bob":
        await turn.sends("operator", f"bob says: {turn.body}")
    elif event.get("event") == "killed":
        await turn.sends("operator", "bob is gone")


async def bob(turn: Turn) -> None:
    if turn.sender == "manager":
        await turn.sends("manager", "one two three")
    elif turn.sender == "operator":
        await turn.sends("operator", f"here I am: {turn.body}")


async def story(host: HiveTester) -> None:
    """What the operator does, waiting for what she sees."""
    await host.mails("manager", "get a helper that counts", key="first")
    await host.approves("bob")
    await host.gets("bob says: one two three")
    first = await host.row("bob")
    await host.mails("manager", "end bob", key="second")
    await host.is_in("bob", agents.Phase.STOPPED)
    await host.gets("bob is gone")
    await host.mails("manager", "start bob", key="third")
    await host.is_in("bob", agents.Phase.RUNNING)
    assert (await host.row("bob")).sandbox != first.sandbox
    await host.mails("bob", "are you back?", key="last")
    await host.gets("here I am")
    await host.until(at_rest)


def at_rest(tx: ports.ReadTx) -> bool:
    """Whether nothing is left to do for anybody."""
    rows = tx.list_agents()
    open_mail = tx.list_messages(states=[MessageState.QUEUED, MessageState.LEASED], limit=1000)
    return all(row.turn_state is agents.TurnState.IDLE for row in rows) and all(
        message.recipient == ids.OPERATOR for message in open_mail
    )


@dataclasses.dataclass
class End:
    """What is left when the story is over."""

    agents: list[tuple[Any, ...]]
    approvals: list[tuple[str, str]]
    mail: collections.Counter[tuple[str, str, str]]
    moments: int
    redelivered: int


async def tell(path: pathlib.Path, *, durable: bool, die_at: int | None, reboot: bool) -> End:
    """Tell the story with a daemon that dies once, and look at what is left."""
    async with (
        asyncio.timeout(15),
        hive(path, durable=durable, brains={"manager": manager, "bob": bob}) as host,
    ):
        fuse = Fuse(die_at)
        await host.up(fuse)
        async with asyncio.TaskGroup() as group:
            told = group.create_task(story(host))
            if die_at is not None:
                await waiting.first(fuse.has_blown.wait(), asyncio.wait({told}))
                await host.crash()
                if reboot:
                    host.world.reboot()
                await host.up()
            await told
        await mail_was_handled_once_or_marked(host)
        rows = await host.look(lambda tx: tx.list_agents())
        asked = await host.look(lambda tx: tx.list_approvals())
        mail = await host.look(lambda tx: tx.list_messages(limit=1000))
        return End(
            [(r.name, r.role, r.phase, r.wanted, r.turn_state, r.crashes) for r in rows],
            [(a.agent_name, a.state.value) for a in asked],
            collections.Counter((m.sender_name, m.recipient_name, m.body) for m in mail),
            fuse.count,
            sum(turn.message["redelivered"] for turn in host.turns),
        )


async def mail_was_handled_once_or_marked(host: HiveTester) -> None:
    """Each message came to its agent; a second time only with the mark."""
    stored = await host.look(lambda tx: tx.list_messages(limit=1000))
    for message in stored:
        if message.recipient == ids.OPERATOR:
            continue
        came = [turn for turn in host.turns if turn.message["id"] == message.id]
        assert came, f"message {message.id} reached nobody"
        # The first may be marked too, when the power went before the turn reached its harness.
        assert all(turn.message["redelivered"] for turn in came[1:])
        assert message.state is MessageState.HANDLED


def same_end(end: End, usual: End, *, reboot: bool) -> None:
    assert end.agents == usual.agents
    assert end.approvals == usual.approvals == [("bob", "deployed")]
    assert set(usual.mail) <= set(end.mail)
    for mail, count in end.mail.items():
        sender, _, body = mail
        if sender == "system" and '"restarted"' in body and reboot:
            continue  # One more start of an agent is one more word about it.
        if sender != "system" and end.redelivered:
            continue  # Who was told twice may have said it twice; the mark was on it.
        assert count == usual.mail[mail], f"{mail} came {count} times"


@pytest.mark.parametrize("reboot", [False, True], ids=["killed", "power-cut"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_story_ends_the_same_wherever_the_daemon_dies(
    tmp_path: pathlib.Path, kind: str, reboot: bool
) -> None:
    def once(die_at: int | None) -> End:
        path = tmp_path / str(die_at)
        path.mkdir()
        return asyncio.run(tell(path, durable=kind == "sqlite", die_at=die_at, reboot=reboot))

    usual = once(None)
    assert usual.redelivered == 0
    assert usual.moments > 50
    # On a disk each telling costs some dozen real syncs: every third moment, all kinds of them.
    for moment in range(1, usual.moments + 1, 3 if kind == "sqlite" else 1):
        try:
            same_end(once(moment), usual, reboot=reboot)
        except BaseException as error:
            error.add_note(f"the daemon died at moment {moment} of {usual.moments}")
            raise
