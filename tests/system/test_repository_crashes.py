"""git dies in the middle, at every system call that matters: the next try goes on (P4, P6)."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import stat
import subprocess

import pytest

from hyperhive import ports
from hyperhive.domain import ids
from rigs.config_repos import CODER, CODER_NAME, SEED, bring, entry, tag
from rigs.config_repos import Made as Commits
from rigs.repository_crashes import World, kill_everywhere, read_refs

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]

EVERY = int(os.environ.get("HIVE_TEST_EVERY_CRASH", "5"))
"""1 kills at every place; the first of each git is never left out."""
Kind = ports.TagKind
ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture(autouse=True)
def strace() -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is missing; as root run: apt-get install strace")


async def nothing(world: World) -> None:
    pass


def test_seeding(tmp_path: pathlib.Path) -> None:
    async def act(world: World) -> None:
        await world.repos.seed(CODER, CODER_NAME, SEED, os.geteuid())

    async def recover(world: World) -> None:
        seed = await world.repos.seed(CODER, CODER_NAME, SEED, os.geteuid())
        refs = {"refs/heads/main": seed.sha, "refs/tags/deployed/0": seed.sha}
        assert read_refs(world.home / f"applied/{CODER}.git") == refs
        config = world.home / "proposed/coder/config"
        assert read_refs(config / ".git") == refs | {"refs/remotes/applied/main": seed.sha}
        assert (config / "prompts/role.md").read_bytes() == SEED["prompts/role.md"]
        status = subprocess.run(
            ["git", "-c", f"safe.directory={config}", "-C", config, "status", "--porcelain"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert status.stdout == b""
        left = [path.name for path in (world.home / "run/seed").iterdir()]
        assert left == []

    kills = asyncio.run(kill_everywhere(tmp_path, nothing, act, recover, every=EVERY))
    assert kills > 10


def test_a_deploy(tmp_path: pathlib.Path) -> None:
    shas: list[str] = []

    async def prepare(world: World) -> None:
        seed = await world.repos.seed(CODER, CODER_NAME, SEED, os.geteuid())
        made = Commits(world.clock)
        made.commit(SEED, message="Begin the configuration")
        new = await bring(world.repos, made, 7, {"agent.toml": b"schema = 1 #\n"}, [seed.sha])
        shas[:] = [seed.sha, new.sha]

    def wanted() -> list[ports.Tag]:
        return [
            tag(Kind.DEPLOYED, 0, shas[0]),
            tag(Kind.PROPOSAL, 7, shas[1]),
            tag(Kind.APPROVED, 7, shas[1]),
            tag(Kind.BUILDING, 7, shas[1]),
            tag(Kind.DEPLOYED, 7, shas[1], "it works"),
            tag(Kind.DENIED, 8, shas[0], "no"),
        ]

    async def act(world: World) -> None:
        await world.repos.pin(CODER, wanted()[2:4])
        await world.repos.pin(CODER, wanted()[4:])
        await world.repos.advance_main(CODER, shas[1])

    async def recover(world: World) -> None:
        directory = world.home / f"applied/{CODER}.git"
        # Main never runs ahead of the tag that says why.
        before = read_refs(directory)
        if before["refs/heads/main"] == shas[1]:
            assert "refs/tags/deployed/7" in before
        assert await world.repos.reconcile(CODER, wanted(), shas[1]) == []
        refs = {f"refs/tags/{each.name}": each.sha for each in wanted()}
        assert read_refs(directory) == refs | {"refs/heads/main": shas[1]}
        await act(world)
        assert set(await world.repos.tags(CODER)) == set(wanted())

    kills = asyncio.run(kill_everywhere(tmp_path, prepare, act, recover, every=EVERY))
    assert kills > 10


def test_metas_commit(tmp_path: pathlib.Path) -> None:
    async def prepare(world: World) -> None:
        await world.meta.sync([entry("coder", ONE), entry("tester", ONE)], "seed meta")

    new = entry("coder", TWO, generation="ab" * 8)

    async def act(world: World) -> None:
        await world.meta.prepare(new)
        await world.meta.finalize(new, ids.ApprovalId(7), "deploy coder deployed/7 2")

    async def recover(world: World) -> None:
        # A commit that was made is one, whether main had moved or not.
        await world.meta.abort()
        assert await clean(world)
        assert 1 <= len(await world.meta.log()) <= 2
        await act(world)
        messages = [commit.message for commit in await world.meta.log()]
        assert messages == ["deploy coder deployed/7 2\n\nDeploy-Id: 7", "seed meta"]
        assert await clean(world)
        assert await world.meta.sync([new, entry("tester", ONE)], "regenerate meta") is None

    kills = asyncio.run(kill_everywhere(tmp_path, prepare, act, recover, every=EVERY))
    assert kills > 10


def test_publishing(tmp_path: pathlib.Path) -> None:
    agents = [(CODER, CODER_NAME)]
    shas: list[str] = []

    async def prepare(world: World) -> None:
        seed = await world.repos.seed(CODER, CODER_NAME, SEED, os.geteuid())
        await world.meta.sync([entry("coder", ONE)], "seed meta")
        await world.repos.publish(agents)
        # There is something old and something new.
        await world.repos.pin(CODER, [tag(Kind.DENIED, 8, seed.sha, "no")])
        await world.meta.sync([entry("coder", TWO), entry("tester", TWO)], "regenerate meta")
        shutil.rmtree(world.home / "export/meta/.git")
        shas[:] = [seed.sha]

    async def act(world: World) -> None:
        await world.repos.publish(agents)

    async def recover(world: World) -> None:
        await world.repos.publish(agents)
        for copy, source in (
            ("export/applied/coder.git", f"applied/{CODER}.git"),
            ("export/meta/.git", "meta/.git"),
        ):
            wanted = read_refs(world.home / source)
            wanted.pop("refs/hive/newest", None)
            assert read_refs(world.home / copy) == wanted
        lock = (world.home / "export/meta/hive.lock").read_bytes()
        assert lock == (world.home / "meta/hive.lock").read_bytes()
        for path in (world.home / "export").rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode & 0o444 == 0o444, path
            assert not mode & 0o022, path
            assert not path.is_dir() or mode & 0o111 == 0o111, path
        assert not list((world.home / "export").glob(".new-*"))

    kills = asyncio.run(kill_everywhere(tmp_path, prepare, act, recover, every=EVERY))
    assert kills > 10


async def clean(world: World) -> bool:
    """Whether meta's files and index are those of its main."""
    said = subprocess.run(
        ["git", "-C", world.home / "meta", "status", "--porcelain"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    return said == b""
