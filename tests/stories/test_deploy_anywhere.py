"""Restart anywhere, for configurations: whatever moment the daemon dies at, the end is the same.

The moments are every commit of the store and every call to git, to meta, to the builder, to a
sandbox, right after it was done and before anybody in the daemon heard of it.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import pathlib
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.adapters.builder.memory import NO_SUCH_PACKAGE
from hyperhive.domain import agents, ids
from hyperhive.domain.approvals import ApprovalState
from hyperhive.services import waiting
from rigs import deploy_story as tell
from rigs.fuse import Fuse
from rigs.hive_tester import OLGA, HiveTester, hive

pytestmark = pytest.mark.timeout(110)


async def story(host: HiveTester) -> None:
    """A deploy, a failed build, a denial, a rollback, newer inputs; she waits for what she sees."""
    await tell.with_bob(host)
    good = await tell.commit(host, tell.config("jq"))
    await tell.proposes(host, good)
    await tell.decides(host, good)
    await tell.ends(host, good, ApprovalState.DEPLOYED)
    broken = await tell.commit(host, tell.config(NO_SUCH_PACKAGE))
    await tell.proposes(host, broken)
    await tell.ends(host, broken, ApprovalState.FAILED)
    denied = await tell.commit(host, tell.config("jq", "tree"))
    await tell.proposes(host, denied)
    await tell.decides(host, denied, note="no trees")
    await tell.ends(host, denied, ApprovalState.DENIED)
    await host.ask(lambda daemon: daemon.proposing.rollback(OLGA, "bob", "deployed/0"))
    await tell.decides(host, "deployed/0")
    await tell.ends(host, "deployed/0", ApprovalState.DEPLOYED)
    await host.until(at_rest)


def at_rest(tx: ports.ReadTx) -> bool:
    """Whether nothing is left to do for anybody."""
    idle = all(row.turn_state is agents.TurnState.IDLE for row in tx.list_agents())
    return idle and not tx.list_proposals(steps=tell.LIVE_STEPS)


@dataclasses.dataclass
class End:
    """What is left when the story is over; commits by what they stand for."""

    approvals: list[tuple[Any, ...]]
    tags: dict[str, str]
    messages: dict[str, str]
    runs: tuple[str, Any, Any]
    current: dict[str, str]
    meta: list[str]
    resolved: collections.Counter[tuple[int, str, str]]
    agents: list[tuple[Any, ...]]
    moments: int


async def play(path: pathlib.Path, die_at: int | None) -> End:
    async with asyncio.timeout(15), hive(path, brains={"manager": tell.manager}) as host:
        fuse = Fuse(die_at)
        await host.up(fuse)
        async with asyncio.TaskGroup() as group:
            told = group.create_task(story(host))
            if die_at is not None:
                await waiting.first(fuse.has_blown.wait(), asyncio.wait({told}))
                await host.crash()
                await host.up()
            await told
        return await look(host, fuse.count)


async def look(host: HiveTester, moments: int) -> End:
    bob = await host.row("bob")
    asked = await host.look(lambda tx: tx.list_approvals())
    rows = await host.look(lambda tx: tx.list_agents())
    deployed = await tell.runs(host)
    trees: dict[str, str] = {}
    for tag, sha in (await tell.git_of(host)).items():
        trees[tag] = (await host.place.repos.show(bob.id, sha)).tree
    found = await host.place.repos.tags(bob.id)
    resolved = collections.Counter(
        (each["id"], each["status"], each["tag"])
        for each in map(json.loads, await host.events_to("manager"))
        if each["event"] == "approval_resolved" and "tag" in each
    )
    inbox = await host.look(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
    assert inbox == [], [message.body for message in inbox]
    return End(
        approvals=[(a.id, a.kind, a.state, a.note) for a in asked],
        tags=trees,
        messages={tag.name: tag.message for tag in found},
        runs=(deployed.tree, deployed.approval, deployed.trial),
        current={"bob": host.place.shelf.current.get(bob.id, "")},
        # Without the ids of commits, which carry times.
        meta=[" ".join(c.message.split()[:3]) for c in await host.place.meta.log()],
        resolved=resolved,
        agents=[(r.name, r.phase, r.wanted, r.turn_state, r.crashes) for r in rows],
        moments=moments,
    )


def test_a_deploy_ends_the_same_wherever_the_daemon_dies(tmp_path: pathlib.Path) -> None:
    def once(die_at: int | None) -> End:
        path = tmp_path / str(die_at)
        path.mkdir()
        return asyncio.run(play(path, die_at))

    usual = once(None)
    assert usual.moments > 80
    assert max(usual.resolved.values()) == 1
    for moment in range(1, usual.moments + 1):
        try:
            end = once(moment)
            end.moments = usual.moments
            # When the manager's first seed and the regeneration of meta fall is up to the clock.
            assert [m for m in end.meta if m.startswith("deploy")] == [
                m for m in usual.meta if m.startswith("deploy")
            ]
            end.meta = usual.meta
            assert end == usual
        except BaseException as error:
            error.add_note(f"the daemon died at moment {moment} of {usual.moments}")
            raise
