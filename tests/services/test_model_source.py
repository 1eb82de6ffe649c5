"""Where the model comes from: what wins, what is remembered, what is never shown."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, errors, events
from hyperhive.services import model_source
from hyperhive.services.model_source import ModelSource, SourceKind

OLGA = access.operator("page")
KEY = "sk-key-0123456789"
UPSTREAM = "https://model.test"


@dataclasses.dataclass
class Desk:
    """What outlives a daemon, and sources on it."""

    store: MemoryStore
    secrets: MemorySecrets
    demos: int = 0

    async def demo(self) -> str:
        self.demos += 1
        return "http://127.0.0.1:1"

    async def load(self, *, demo: bool = False, api_key: str = "", token: str = "") -> ModelSource:
        """A daemon's start with this environment."""
        source = ModelSource(self.store, self.secrets, UPSTREAM, self.demo)
        await source.load(demo=demo, api_key=api_key, token=token)
        return source


def run(story) -> None:
    async def main():
        clock = ManualClock()
        await story(Desk(MemoryStore(clock), MemorySecrets()))

    asyncio.run(main())


def test_without_anything_turns_do_not_run():
    async def story(desk):
        source = await desk.load()
        assert (source.ready(), source.credential()) == (False, "")
        assert await source.status() == {"kind": "none", "upstream": UPSTREAM, "ready": False}

    run(story)


@pytest.mark.parametrize(
    ("given", "kind", "believed"),
    [
        ({"api_key": KEY}, SourceKind.API_KEY, "api_key"),
        ({"token": KEY}, SourceKind.TOKEN, "token"),
        ({"api_key": KEY, "token": "other-one"}, SourceKind.API_KEY, "api_key"),
        ({"demo": True, "api_key": KEY}, SourceKind.DEMO, "api_key"),
    ],
)
def test_the_environment_gives_a_source(given, kind, believed):
    async def story(desk):
        source = await desk.load(**given)
        assert (source.current().kind, source.credential()) == (kind, believed)
        assert source.current().secret == ("" if kind is SourceKind.DEMO else KEY)
        assert desk.demos == (kind is SourceKind.DEMO)

    run(story)


def test_what_the_operator_set_wins_over_the_environment_from_then_on():
    async def story(desk):
        source = await desk.load(api_key="from-environment")
        shown = await source.set(OLGA, "token", f"  {KEY}\n")
        assert shown == {"kind": "token", "upstream": UPSTREAM, "ready": True}
        later = await desk.load(api_key="from-environment")
        assert (later.current().kind, later.current().secret) == (SourceKind.TOKEN, KEY)
        await later.set(OLGA, "none", "")
        assert (await desk.load(api_key="from-environment")).ready() is False
        assert await desk.secrets.read(model_source.SECRET_NAME) is None

    run(story)


def test_the_environment_is_not_remembered():
    async def story(desk):
        await desk.load(api_key=KEY)
        assert (await desk.load()).ready() is False
        await desk.load(demo=True)
        assert (await desk.load(token=KEY)).current().kind is SourceKind.TOKEN

    run(story)


def test_a_demo_run_does_not_forget_what_was_set():
    async def story(desk):
        await (await desk.load()).set(OLGA, "api_key", KEY)
        await desk.load(demo=True)
        assert (await desk.load()).current().secret == KEY

    run(story)


def test_a_death_between_secret_and_store_never_mixes_two_credentials():
    class Dies(Exception):
        pass

    class DyingStore(MemoryStore):
        async def write(self, work):
            raise Dies

    async def story(desk):
        await (await desk.load()).set(OLGA, "api_key", KEY)
        dying = Desk(DyingStore(ManualClock(), desk.store.tables), desk.secrets)
        source = ModelSource(dying.store, dying.secrets, UPSTREAM, dying.demo)
        with pytest.raises(Dies):
            await source.set(OLGA, "token", "a-token-0123456789")
        after = (await desk.load()).current()
        assert (after.kind, after.secret) == (SourceKind.TOKEN, "a-token-0123456789")
        with pytest.raises(Dies):
            await source.set(OLGA, "none", "")
        assert (await desk.load()).current() == after

    run(story)


@pytest.mark.parametrize("kept", ["", "api_key", "api_key ", "demo x", KEY])
def test_a_damaged_secret_is_said_and_not_used(kept):
    async def story(desk):
        await (await desk.load()).set(OLGA, "api_key", KEY)
        await desk.secrets.write(model_source.SECRET_NAME, kept)
        with pytest.raises(errors.HiveError, match="is damaged") as caught:
            await desk.load(token="another-token")
        assert KEY not in caught.value.message

    run(story)


def test_each_setting_is_a_new_number_and_wakes_who_waits():
    async def story(desk):
        source = await desk.load()
        number = desk.store.number()
        seen = []
        for _ in range(2):
            await source.set(OLGA, "api_key", KEY)
            seen.append(await desk.store.read(lambda tx: tx.get_value(model_source.VALUE_NAME)))
        # So that a new key of the same kind ends the pauses of the old one.
        assert seen[1]["number"] == seen[0]["number"] + 1
        assert await desk.store.changed(events.SETTINGS, number) == desk.store.number()

    run(story)


def test_the_secret_is_in_no_row_no_fact_and_no_picture():
    async def story(desk):
        source = await desk.load(api_key="key-of-environment")
        await source.set(OLGA, "api_key", KEY)
        tables = desk.store.tables
        assert tables.facts
        assert tables.values
        for text in (str(tables.facts), str(tables.values), repr(source.current())):
            assert KEY not in text
            assert "key-of-environment" not in text

    run(story)


@pytest.mark.parametrize(
    ("kind", "secret", "why"),
    [
        ("magic", KEY, "choose one of none, api_key, token, demo"),
        ("api_key", "short", "8 to 4096 printable"),
        ("api_key", "x" * 4097, "8 to 4096 printable"),
        ("token", "with a space in it", "contains a space"),
        ("token", "line\nfeed-in-it", "8 to 4096 printable"),
        ("token", "schlüssel-geheim", "8 to 4096 printable"),
    ],
)
def test_bad_credentials_are_refused_and_change_nothing(kind, secret, why):
    async def story(desk):
        source = await desk.load(token=KEY)
        number = desk.store.number()
        with pytest.raises(errors.HiveError, match=why) as caught:
            await source.set(OLGA, kind, secret)
        assert caught.value.kind is errors.ErrorKind.INVALID
        assert secret not in caught.value.message or kind == "magic"
        assert (source.current().secret, desk.store.number()) == (KEY, number)
        assert await desk.secrets.read(model_source.SECRET_NAME) is None

    run(story)


def test_agents_cannot_set_it(make_desk):
    async def story():
        desk = make_desk()
        mine = Desk(desk.store, MemorySecrets())
        source = await mine.load()
        with pytest.raises(errors.HiveError, match="only the operator may"):
            await source.set(await desk.caller("manager"), "api_key", KEY)
        assert not source.ready()

    asyncio.run(story())
