"""The status of the forge's copy, and the token: kept, tried, never shown."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.mirror.memory import MemoryMirror
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, errors, events, ids
from hyperhive.services.mirroring import Mirroring

OLGA = access.operator("page")
TOKEN = "0123456789abcdef" * 2


class _Desk:
    def __init__(self, *, configured: bool = True) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.secrets = MemorySecrets()
        self.mirror = MemoryMirror()
        self.board = Mirroring(
            self.store, self.secrets, self.clock, self.mirror if configured else None,
            url="http://forge", organisation="agent-configs",
        )  # fmt: skip

    async def facts(self) -> list[events.Fact]:
        return await self.store.read(lambda tx: tx.facts_after(0, 100))


def test_a_token_is_kept_tried_and_wakes_the_loop():
    async def story() -> None:
        desk = _Desk()
        number = desk.store.number()
        found = await desk.board.set_token(OLGA, f" {TOKEN}\n")
        assert [each.severity for each in found] == [ports.Severity.OK]
        assert await desk.secrets.read(ports.TOKEN_SECRET) == TOKEN
        assert desk.board.tokens_set == 1
        assert await desk.store.changed(events.MIRROR, number) > number
        assert TOKEN not in repr(await desk.facts()) + repr(desk.board.status())

    asyncio.run(story())


@pytest.mark.parametrize("token", ["", "short", "a" * 5000, "with a space in it", "tøken-tøken"])
def test_what_cannot_be_a_token_is_refused_and_not_repeated(token: str):
    async def story() -> None:
        desk = _Desk()
        with pytest.raises(errors.HiveError, match="cannot use this token") as caught:
            await desk.board.set_token(OLGA, token)
        assert caught.value.kind is errors.ErrorKind.INVALID
        assert not token or token not in caught.value.message
        assert await desk.secrets.read(ports.TOKEN_SECRET) is None

    asyncio.run(story())


def test_only_the_operator_sets_it():
    async def story() -> None:
        desk = _Desk()
        agent = access.Caller(ids.PartyId("a" * 12), "bob", agents.Role.AGENT, "agent socket")
        with pytest.raises(errors.HiveError) as caught:
            await desk.board.set_token(agent, TOKEN)
        assert caught.value.kind is errors.ErrorKind.FORBIDDEN

    asyncio.run(story())


def test_a_token_without_a_forge_is_kept_and_says_what_is_missing():
    async def story() -> None:
        desk = _Desk(configured=False)
        [finding] = await desk.board.set_token(OLGA, TOKEN)
        assert "forge_url" in finding.remedy
        assert await desk.secrets.read(ports.TOKEN_SECRET) == TOKEN

    asyncio.run(story())


def test_an_error_stays_until_all_is_there_and_the_lag_is_counted():
    async def story() -> None:
        desk = _Desk()
        desk.board.retain(["coder"])
        [row] = desk.board.status()["repositories"]
        assert row == {
            "name": "coder", "state": "unknown", "lag_refs": None, "behind_since": None,
            "last_ok": None, "error": "",
        }  # fmt: skip
        desk.board.mark_in_step("coder")
        ok = desk.clock.now().isoformat()
        desk.clock.advance(60)
        since = desk.clock.now().isoformat()
        desk.board.mark_behind("coder", 2)
        desk.clock.advance(60)
        desk.board.mark_failed("coder", "cannot push: down")
        desk.board.mark_behind("coder", 3)
        [row] = desk.board.status()["repositories"]
        assert row == {
            "name": "coder", "state": "error", "lag_refs": 3, "behind_since": since,
            "last_ok": ok, "error": "cannot push: down",
        }  # fmt: skip

    asyncio.run(story())


def test_a_fact_is_recorded_for_a_difference_that_shows_and_wakes_no_mirror():
    async def story() -> None:
        desk = _Desk()
        desk.board.retain(["coder", "meta"])
        desk.board.mark_in_step("coder")
        await desk.board.announce()
        number = desk.store.number()
        desk.clock.advance(60)
        desk.board.mark_in_step("coder")
        await desk.board.announce()
        assert desk.store.number() == number
        desk.board.mark_failed("meta", "cannot push: down")
        await desk.board.announce()
        [first, second] = await desk.facts()
        assert first.event.text == "1 unknown, 1 in step"
        assert second.event.text == "1 in step, 1 error"
        assert second.event.topics == ()

    asyncio.run(story())
