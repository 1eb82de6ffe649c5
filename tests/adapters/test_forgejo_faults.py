"""Whatever the forge does wrong: a typed answer, nothing left running, and caught up later."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import time
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.ports import Fault
from rigs.forge import Forge, Kind, Stage
from rigs.forge.bench import ORG, SCOPES, Bench, bench
from rigs.forge.state import git

Story = Callable[[Bench], Awaitable[None]]


def _play(root: pathlib.Path, story: Story, **options: bool | float) -> None:
    async def main() -> None:
        async with bench(root, **options) as made:  # type: ignore[arg-type]
            await story(made)
            made.forge.troubles.clear()
            assert _gits() == [], "git was left running"

    asyncio.run(main())


def _gits() -> list[str]:
    """Programs called git… below this process; the forge's own have been waited for."""
    found: list[str] = []
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            waiting += map(int, children)
            for child in children:
                name = pathlib.Path(f"/proc/{child}/comm").read_text().strip()
                if name.startswith("git"):
                    found.append(f"{child} {name}")
    return found


API_FAULTS = [
    (Kind.STATUS, Fault.FAILING),
    (Kind.HTML, Fault.FAILING),
    (Kind.LOGIN_PAGE, Fault.GARBLED),
    (Kind.TRUNCATED, Fault.GARBLED),
    (Kind.GARBAGE, Fault.GARBLED),
    (Kind.ENDLESS, Fault.GARBLED),
    (Kind.RESET, Fault.UNREACHABLE),
    (Kind.HANG, Fault.SLOW),
]
GIT_FAULTS = [
    (Kind.STATUS, Fault.FAILING),
    (Kind.HTML, Fault.FAILING),
    (Kind.LOGIN_PAGE, Fault.FAILING),
    (Kind.TRUNCATED, Fault.FAILING),
    (Kind.GARBAGE, Fault.FAILING),
    (Kind.RESET, Fault.FAILING),
    (Kind.ENDLESS, Fault.FAILING),
    (Kind.HANG, Fault.SLOW),
]


@pytest.mark.parametrize(("kind", "fault"), API_FAULTS)
def test_a_fault_of_the_api(tmp_path, kind: Kind, fault: Fault):
    async def story(world: Bench) -> None:
        world.source.commit("second")
        before = world.repository.refs()
        world.forge.spoil(kind, Stage.API)
        assert (await world.fail()).fault is fault
        assert world.repository.refs() == before
        [finding] = await world.mirror.probe()
        assert finding.severity is ports.Severity.NOTICE
        with pytest.raises(ports.MirrorError) as caught:
            await world.mirror.prepare()
        assert caught.value.fault is fault
        world.forge.troubles.clear()
        assert await world.sync() == 1
        assert world.is_in_step()

    _play(tmp_path, story, synced=True, seconds=1.5 if kind is Kind.HANG else 20.0)


@pytest.mark.parametrize("stage", [Stage.REFS, Stage.PUSH])
@pytest.mark.parametrize(("kind", "fault"), GIT_FAULTS)
def test_a_fault_where_git_is_answered(tmp_path, kind: Kind, fault: Fault, stage: Stage):
    async def story(world: Bench) -> None:
        world.source.commit("second")
        before = world.repository.refs()
        world.forge.spoil(kind, stage)
        begin = time.monotonic()
        assert (await world.fail()).fault is fault
        assert time.monotonic() - begin < 15
        assert world.repository.refs() == before
        world.forge.troubles.clear()
        assert await world.sync() == 1
        assert world.is_in_step()

    _play(tmp_path, story, synced=True, seconds=3.0 if kind is Kind.HANG else 20.0)


def test_done_but_never_told(tmp_path):
    async def story(world: Bench) -> None:
        # git sends it again by itself, and is told that the refs are not as it believed.
        world.forge.spoil(Kind.LOST, Stage.PUSH)
        assert await world.sync() == 2
        assert world.is_in_step()
        assert await world.sync() == 0

    _play(tmp_path, story)


def test_what_was_pushed_before_a_fault_is_not_pushed_again(tmp_path):
    async def story(world: Bench) -> None:
        world.source.tags("failed", 120, world.source.refs()["refs/heads/main"])
        world.forge.spoil(Kind.STATUS, Stage.PUSH, after=1, times=1)
        assert (await world.fail()).fault is Fault.FAILING
        arrived = world.repository.refs()
        assert len(arrived) == 50
        assert "refs/heads/main" in arrived
        assert await world.sync() == 72
        assert world.is_in_step()

    _play(tmp_path, story)


def test_a_forge_that_is_down_and_comes_up(tmp_path):
    async def story(world: Bench) -> None:
        await world.forge.down()
        world.source.commit("second")
        assert (await world.fail()).fault is Fault.UNREACHABLE
        await world.forge.up()
        assert await world.sync() == 1

    _play(tmp_path, story, synced=True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("17", 17.0), ("99999999999999", 3600.0), ("", None), ("soon", None), ("-5", None),
        ("Tue, 01 Jan 2030 00:01:00 GMT", 60.0), ("Tue, 01 Jan 2030 00:01:00 -0000", 60.0),
        ("Mon, 31 Dec 2029 00:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_it_says_how_long_the_forge_wants_to_be_left_alone(tmp_path, said, seconds):
    async def story(world: Bench) -> None:
        world.forge.spoil(Kind.STATUS, Stage.API, status=429, headers={"Retry-After": said})
        error = await world.fail()
        assert (error.fault, error.retry_after) == (Fault.BUSY, seconds)

    _play(tmp_path, story)


def test_a_revoked_token_and_a_new_one(tmp_path):
    async def story(world: Bench) -> None:
        world.source.commit("second")
        del world.forge.world.tokens[world.token]
        error = await world.fail()
        assert error.fault is Fault.UNAUTHORISED
        assert "hive forge set-token" in error.message
        await world.secrets.delete("forge-token")
        assert (await world.fail()).fault is Fault.UNAUTHORISED
        # With the newline that a file written by hand ends with.
        await world.secrets.write(
            "forge-token", world.forge.world.add_token("hive", *SCOPES) + "\n"
        )
        assert await world.sync() == 1

    _play(tmp_path, story, synced=True)


def test_a_token_that_is_revoked_between_api_and_push(tmp_path):
    async def story(world: Bench) -> None:
        kept = world.forge.world.tokens[world.token]
        world.forge.spoil(Kind.STATUS, Stage.REFS, status=401)
        world.forge.spoil(Kind.STATUS, Stage.API, status=401, after=2)
        assert (await world.fail()).fault is Fault.UNAUTHORISED
        assert world.forge.world.tokens[world.token] is kept

    _play(tmp_path, story)


@pytest.mark.parametrize("scope", ["read:repository", "write:organization", "write:repository"])
def test_a_token_with_too_few_rights(tmp_path, scope: str):
    async def story(world: Bench) -> None:
        await world.secrets.write("forge-token", world.forge.world.add_token("hive", scope))
        error = await world.fail()
        assert error.fault is Fault.FORBIDDEN
        assert "write:organization and write:repository" in error.message

    _play(tmp_path, story)


def test_a_damaged_token_is_not_sent(tmp_path):
    async def story(world: Bench) -> None:
        await world.secrets.write("forge-token", f"{world.token}\nx: y")
        before = len(world.forge.seen)
        assert (await world.fail()).fault is Fault.UNAUTHORISED
        assert len(world.forge.seen) == before

    _play(tmp_path, story)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("stage", [Stage.API, Stage.REFS, Stage.PUSH])
def test_a_redirect_to_another_host_gets_nothing(tmp_path, stage: Stage, status: int):
    async def story(world: Bench) -> None:
        async with Forge.running(tmp_path / "other") as other:
            # It would serve all that is asked for.
            other.world = other.api._world = world.forge.world
            world.forge.spoil(Kind.REDIRECT, stage, status=status, location=other.url)
            error = await world.fail()
            assert error.fault in (Fault.MOVED, Fault.FAILING)
            with pytest.raises(ports.MirrorError):
                if stage is not Stage.API:
                    raise error
                await world.mirror.prepare()
            assert other.seen == []
            assert world.repository.refs() == {} if stage is not Stage.API else True

    _play(tmp_path, story)


# --- the organisation -------------------------------------------------------------------


def test_an_organisation_that_was_made_public_is_closed_again(tmp_path):
    async def story(world: Bench) -> None:
        world.organisation.visibility = "public"
        await world.mirror.prepare()
        assert world.organisation.visibility == "private"
        [notice] = world.notices
        assert "private" in notice

    _play(tmp_path, story)


def test_an_organisation_that_stays_public_is_refused(tmp_path):
    async def story(world: Bench) -> None:
        class Stubborn(type(world.organisation)):
            visibility = property(lambda _: "public", lambda _, __: None)  # type: ignore[assignment]

        world.organisation.__class__ = Stubborn
        with pytest.raises(ports.MirrorError) as caught:
            await world.mirror.prepare()
        assert caught.value.fault is Fault.EXPOSED

    _play(tmp_path, story)


def test_a_name_that_is_taken_by_somebody_else(tmp_path):
    async def story(world: Bench) -> None:
        world.forge.world.add_account(ORG)
        with pytest.raises(ports.MirrorError, match="forge_organisation") as caught:
            await world.mirror.prepare()
        assert caught.value.fault is Fault.REFUSED

    _play(tmp_path, story, prepared=False)


def test_an_account_that_may_not_make_organisations(tmp_path):
    async def story(world: Bench) -> None:
        world.forge.world.accounts["hive"].may_create_organisations = False
        with pytest.raises(ports.MirrorError) as caught:
            await world.mirror.prepare()
        assert caught.value.fault is Fault.FORBIDDEN

    _play(tmp_path, story, prepared=False)


def test_an_organisation_that_is_gone_comes_back(tmp_path):
    async def story(world: Bench) -> None:
        del world.forge.world.organisations[ORG]
        assert (await world.fail()).fault is Fault.FAILING
        assert await world.sync() == 2

    _play(tmp_path, story, synced=True)


# --- a repository -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("private", False, Fault.EXPOSED),
        ("archived", True, Fault.ARCHIVED),
        ("has_actions", True, Fault.REFUSED),
    ],
)
def test_nothing_is_pushed_to_one_that_does_not_close(tmp_path, setting, value, fault):
    async def story(world: Bench) -> None:
        world.source.commit("second")
        before = world.repository.refs()
        world.repository.stubborn.add(setting)
        if setting == "has_actions":
            world.repository.units["actions"] = True
        else:
            setattr(world.repository, setting, value)
        pushes = world.forge.pushes
        assert (await world.fail()).fault is fault
        assert world.repository.refs() == before
        assert world.forge.pushes == pushes

    _play(tmp_path, story, synced=True)


def test_a_new_one_has_nothing_but_code_and_later_wishes_are_left_alone(tmp_path):
    async def story(world: Bench) -> None:
        assert not any(world.repository.units.values())
        world.repository.units.update(wiki=True, actions=True)
        await world.sync()
        assert {unit for unit, on in world.repository.units.items() if on} == {"wiki"}
        [notice] = world.notices
        assert "has_actions false" in notice

    _play(tmp_path, story, synced=True)


def test_a_renamed_one_is_left_and_a_new_one_made(tmp_path):
    async def story(world: Bench) -> None:
        before = world.repository.refs()
        world.forge.world.rename(world.organisation, world.repository, "mine")
        assert await world.sync() == 2
        assert world.is_in_step()
        assert world.repository.private
        assert world.forge.repository(ORG, "mine").refs() == before
        [notice] = world.notices
        assert "renamed" in notice

    _play(tmp_path, story, synced=True)


def test_refs_that_are_not_taken_are_said_to_be(tmp_path):
    async def story(world: Bench) -> None:
        second = world.source.commit("second")
        world.source.set("refs/tags/deployed/2", second)
        (world.repository.path / "protected").touch()
        error = await world.fail()
        assert error.fault is Fault.REFUSED
        assert "pre-receive hook declined" in error.message
        # All or none: the tag does not go without its main.
        assert "refs/tags/deployed/2" not in world.repository.refs()
        (world.repository.path / "protected").unlink()
        assert await world.sync() == 2

    _play(tmp_path, story, synced=True)


def test_a_tag_that_somebody_moved_is_reported(tmp_path):
    async def story(world: Bench) -> None:
        second = world.source.commit("second")
        await world.sync()
        git(world.repository.path, "update-ref", "refs/tags/deployed/0", second)
        assert await world.sync() == 1
        [notice] = world.notices
        assert "refs/tags/deployed/0 was moved" in notice

    _play(tmp_path, story, synced=True)


# --- our own side -----------------------------------------------------------------------


def test_a_repository_that_is_not_there_or_lacks_the_commit(tmp_path):
    async def story(world: Bench) -> None:
        for target in (
            ports.MirrorTarget("coder", str(tmp_path / "none.git"), world.source.refs()),
            ports.MirrorTarget("coder", str(world.source.path), {"refs/heads/main": "1" * 40}),
            # Git must not look for one above it, where this test's own may be.
            ports.MirrorTarget("coder", str(tmp_path), {"refs/heads/main": "1" * 40}),
        ):
            with pytest.raises(ports.MirrorError):
                await world.mirror.sync(target)
        assert world.repository.refs() == {}

    _play(tmp_path, story)


def test_a_cancelled_sync_leaves_nothing_running(tmp_path):
    async def story(world: Bench) -> None:
        world.forge.spoil(Kind.HANG, Stage.PUSH)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(world.sync())
            while not any(seen.stage is Stage.PUSH for seen in world.forge.seen):
                await asyncio.sleep(0.01)
            task.cancel()
        assert task.cancelled()
        world.forge.troubles.clear()
        assert await world.sync() == 2

    _play(tmp_path, story)


def test_a_host_without_git_is_said_to_be_one(tmp_path):
    async def story(world: Bench) -> None:
        (tmp_path / "bin").mkdir()
        shell = shutil.which("sh")
        assert shell is not None
        (tmp_path / "bin" / "sh").symlink_to(shell)

        class NoGit(HostProcesses):
            async def run(self, argv, *, env, **options):  # type: ignore[no-untyped-def,override]
                found = {**env, "PATH": str(tmp_path / "bin")}
                return await super().run(argv, env=found, **options)

        world.mirror._processes = NoGit()
        assert (await world.fail()).fault is Fault.LOCAL

    _play(tmp_path, story)


# --- what hive doctor says --------------------------------------------------------------


def _notices(found: list[ports.Finding]) -> list[str]:
    return [each.text for each in found if each.severity is not ports.Severity.OK]


def test_an_admin_account_and_other_members_are_noticed(tmp_path):
    async def story(world: Bench) -> None:
        assert _notices(await world.mirror.probe()) == []
        world.forge.world.accounts["hive"].is_admin = True
        world.organisation.members.append(world.forge.world.add_account("eve"))
        admin, members = _notices(await world.mirror.probe())
        assert "admin" in admin
        assert "'eve'" in members
        world.organisation.visibility = "public"
        assert "not private" in _notices(await world.mirror.probe())[1]

    _play(tmp_path, story)


def test_what_is_not_there_yet_is_no_fault(tmp_path):
    async def story(world: Bench) -> None:
        assert _notices(await world.mirror.probe()) == []
        await world.secrets.delete("forge-token")
        [notice] = await world.mirror.probe()
        assert notice.severity is ports.Severity.NOTICE
        assert "set-token" in notice.remedy

    _play(tmp_path, story, prepared=False)


def test_a_token_that_may_not_ask_who_it_is_sees_the_rest(tmp_path):
    async def story(world: Bench) -> None:
        token = world.forge.world.add_token("hive", *SCOPES[:2])
        await world.secrets.write("forge-token", token)
        found = await world.mirror.probe()
        assert _notices(found) == []
        assert len(found) == 2

    _play(tmp_path, story)
