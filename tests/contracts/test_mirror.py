"""What every `ports.Mirror` promises: the memory twin, and Forgejo against the test forge."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.mirror import place
from hyperhive.adapters.mirror.forgejo import ForgejoMirror
from hyperhive.adapters.mirror.memory import MemoryMirror
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import errors
from rigs.forge import Forge, Kind
from rigs.forge.source import Source
from rigs.forge.state import git

ORG = "agent-configs"


class _World:
    """A mirror and a look behind it."""

    mirror: ports.Mirror

    def refs(self, name: str) -> dict[str, str]:
        raise NotImplementedError

    def names(self) -> set[str]:
        raise NotImplementedError

    def set(self, name: str, ref: str, sha: str) -> None:
        """Somebody else changes a ref there."""
        raise NotImplementedError

    def publish(self, name: str) -> None:
        """Somebody makes the repository public and archives it."""
        raise NotImplementedError

    def is_closed(self, name: str) -> bool:
        """Whether the organisation and the repository are private."""
        raise NotImplementedError

    def is_archived(self, name: str) -> bool:
        raise NotImplementedError

    def lose(self, name: str) -> None:
        raise NotImplementedError

    def break_down(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError


class _Memory(_World):
    def __init__(self) -> None:
        self.mirror = self._mirror = MemoryMirror()

    def refs(self, name: str) -> dict[str, str]:
        return dict(self._mirror.kept[name].refs)

    def names(self) -> set[str]:
        return set(self._mirror.kept)

    def set(self, name: str, ref: str, sha: str) -> None:
        self._mirror.kept[name].refs[ref] = sha

    def publish(self, name: str) -> None:
        self._mirror.kept[name].private = False
        self._mirror.kept[name].archived = True

    def is_closed(self, name: str) -> bool:
        return self._mirror.private is True and self._mirror.kept[name].private

    def is_archived(self, name: str) -> bool:
        return self._mirror.kept[name].archived

    def lose(self, name: str) -> None:
        del self._mirror.kept[name]

    def break_down(self) -> None:
        self._mirror.fault = ports.MirrorError(ports.Fault.FAILING, "cannot push: it is broken")

    def mend(self) -> None:
        self._mirror.fault = None


class _Forgejo(_World):
    def __init__(self, forge: Forge, mirror: ForgejoMirror) -> None:
        self.mirror = mirror
        self._forge = forge

    def refs(self, name: str) -> dict[str, str]:
        return self._forge.repository(ORG, name).refs()

    def names(self) -> set[str]:
        owner = self._forge.world.organisation(ORG)
        return set() if owner is None else {each.name for each in owner.repositories.values()}

    def set(self, name: str, ref: str, sha: str) -> None:
        git(self._forge.repository(ORG, name).path, "update-ref", ref, sha)

    def publish(self, name: str) -> None:
        self._forge.repository(ORG, name).private = False
        self._forge.repository(ORG, name).archived = True

    def is_closed(self, name: str) -> bool:
        owner = self._forge.world.organisation(ORG)
        assert owner is not None
        return owner.visibility == "private" and self._forge.repository(ORG, name).private

    def is_archived(self, name: str) -> bool:
        return self._forge.repository(ORG, name).archived

    def lose(self, name: str) -> None:
        owner = self._forge.world.organisation(ORG)
        assert owner is not None
        del owner.repositories[name]

    def break_down(self) -> None:
        self._forge.spoil(Kind.STATUS)

    def mend(self) -> None:
        self._forge.troubles.clear()


@contextlib.asynccontextmanager
async def _world(kind: str, root: pathlib.Path) -> AsyncIterator[_World]:
    if kind == "memory":
        yield _Memory()
        return
    async with Forge.running(root / "forge") as forge:
        forge.world.add_account("hive")
        secrets = MemorySecrets()
        token = forge.world.add_token("hive", "write:organization", "write:repository", "read:user")
        await secrets.write(ports.TOKEN_SECRET, token)
        mirror = ForgejoMirror(
            place.make(forge.url, ORG), secrets, HostProcesses(), SystemClock(), lambda _: None
        )
        yield _Forgejo(forge, mirror)


Story = Callable[[_World, Source], Awaitable[None]]


@pytest.fixture(params=["memory", "forgejo"])
def play(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Callable[[Story], None]:
    """Runs a story on a prepared mirror with one repository that has a main and a tag."""

    def run(story: Story) -> None:
        async def main() -> None:
            source = Source(tmp_path / "applied" / "1.git")
            source.set("refs/tags/deployed/0", source.commit("seed"))
            async with _world(request.param, tmp_path) as world:
                await world.mirror.prepare()
                await story(world, source)

        asyncio.run(main())

    return run


def test_the_first_sync_makes_a_private_repository_with_these_refs(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.prepare()
        assert await world.mirror.sync(source.target()) == 2
        assert world.refs("coder") == source.refs()
        assert world.is_closed("coder")
        assert await world.mirror.sync(source.target()) == 0

    play(story)


def test_what_changed_is_pushed_and_what_is_gone_goes(play):
    async def story(world: _World, source: Source) -> None:
        source.set("refs/tags/proposal/1", source.refs()["refs/heads/main"])
        await world.mirror.sync(source.target())
        second = source.commit("second")
        source.set("refs/tags/approved/2", second)
        source.annotate("deployed/2", second, "deployed")
        source.delete("refs/tags/proposal/1")
        assert await world.mirror.sync(source.target()) == 4
        assert world.refs("coder") == source.refs()

    play(story)


def test_a_main_that_went_back_goes_back_there(play):
    async def story(world: _World, source: Source) -> None:
        first = source.refs()["refs/heads/main"]
        source.commit("second")
        await world.mirror.sync(source.target())
        source.set("refs/heads/main", first)
        assert await world.mirror.sync(source.target()) == 1
        assert world.refs("coder")["refs/heads/main"] == first

    play(story)


def test_only_main_and_tags_of_the_six_kinds_are_touched(play):
    async def story(world: _World, source: Source) -> None:
        sha = source.refs()["refs/heads/main"]
        hidden = {"refs/hyperhive/x", "refs/heads/other", "refs/tags/v9"}
        for ref in hidden:
            source.set(ref, sha)
        assert await world.mirror.sync(source.target()) == 2
        assert not hidden & set(world.refs("coder"))
        kept = ["refs/heads/keep", "refs/tags/v1.0", "refs/tags/proposalx/1", "refs/hyperhive/y"]
        for ref in [*kept, "refs/tags/failed/7"]:
            world.set("coder", ref, sha)
        assert await world.mirror.sync(source.target()) == 1
        expected = {"refs/heads/main", "refs/tags/deployed/0", *kept}
        assert set(world.refs("coder")) == expected

    play(story)


def test_what_was_moved_there_is_set_again(play):
    async def story(world: _World, source: Source) -> None:
        first = source.refs()["refs/heads/main"]
        source.commit("second")
        await world.mirror.sync(source.target())
        world.set("coder", "refs/heads/main", first)
        world.set("coder", "refs/tags/deployed/0", source.refs()["refs/heads/main"])
        assert await world.mirror.sync(source.target()) == 2
        assert world.refs("coder") == source.refs()

    play(story)


def test_main_is_never_deleted(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.sync(source.target())
        main = source.refs()["refs/heads/main"]
        nothing = ports.MirrorTarget("coder", str(source.path), {})
        assert await world.mirror.sync(nothing) == 1
        assert world.refs("coder") == {"refs/heads/main": main}

    play(story)


def test_an_empty_repository_is_mirrored_as_one(play):
    async def story(world: _World, source: Source) -> None:
        assert await world.mirror.sync(ports.MirrorTarget("coder", str(source.path), {})) == 0
        assert world.refs("coder") == {}
        assert world.is_closed("coder")

    play(story)


def test_more_refs_than_fit_into_one_push(play):
    async def story(world: _World, source: Source) -> None:
        source.tags("failed", 120, source.refs()["refs/heads/main"])
        assert await world.mirror.sync(source.target()) == 122
        assert world.refs("coder") == source.refs()

    play(story)


def test_a_repository_that_was_opened_or_archived_is_closed_and_writable_again(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.sync(source.target())
        world.publish("coder")
        source.commit("second")
        assert await world.mirror.sync(source.target()) == 1
        assert world.is_closed("coder")
        assert not world.is_archived("coder")
        assert world.refs("coder") == source.refs()

    play(story)


def test_a_lost_repository_is_made_again(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.sync(source.target())
        world.lose("coder")
        assert await world.mirror.sync(source.target()) == 2
        assert world.refs("coder") == source.refs()
        assert world.is_closed("coder")

    play(story)


def test_a_broken_forge_is_an_answer_and_later_all_is_caught_up(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.sync(source.target())
        world.break_down()
        source.commit("second")
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: world.mirror.sync(source.target()),
            world.mirror.prepare,
            lambda: world.mirror.forget("coder"),
        ]
        for attempt in attempts:
            with pytest.raises(ports.MirrorError) as caught:
                await attempt()
            assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
            assert caught.value.fault is ports.Fault.FAILING
            assert caught.value.message.startswith("cannot ")
        [finding] = await world.mirror.probe()
        assert finding.severity is ports.Severity.NOTICE
        world.mend()
        assert await world.mirror.sync(source.target()) == 1
        assert world.refs("coder") == source.refs()

    play(story)


def test_a_forgotten_repository_is_set_aside_and_a_later_one_begins_empty(play):
    async def story(world: _World, source: Source) -> None:
        await world.mirror.forget("coder")
        assert world.names() == set()
        await world.mirror.sync(source.target())
        before = world.refs("coder")
        await world.mirror.forget("coder")
        [aside] = world.names()
        assert aside.startswith("coder.")
        assert world.is_archived(aside)
        await world.mirror.forget("coder")
        assert await world.mirror.sync(source.target()) == len(before)
        assert world.names() == {"coder", aside}
        assert world.refs(aside) == before

    play(story)


def test_a_name_that_is_no_name_goes_nowhere(play):
    async def story(world: _World, source: Source) -> None:
        for name in ("../other", "a/b", "", ".git", "a b", "a\n", "x" * 200):
            target = ports.MirrorTarget(name, str(source.path), source.refs())
            with pytest.raises(ports.MirrorError) as caught:
                await world.mirror.sync(target)
            assert caught.value.fault is ports.Fault.LOCAL
        assert world.names() == set()

    play(story)


def test_a_well_forge_is_found_well(play):
    async def story(world: _World, source: Source) -> None:
        found = await world.mirror.probe()
        assert found
        assert {(each.topic, each.severity) for each in found} == {("forge", ports.Severity.OK)}

    play(story)
