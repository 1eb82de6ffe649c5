"""Bar 1: an import from any repository runs nothing as us and takes nothing of anybody else."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterator

import pytest

from hyperhive.adapters.config_repo import producer
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import one_shot
from hyperhive.domain import ids
from rigs import hostile_repositories, import_bench, sandbox_bench

pytestmark = pytest.mark.system
NAMES = [each.name for each in hostile_repositories.CASES]


@pytest.fixture(scope="module")
def world() -> Iterator[hostile_repositories.World]:
    with sandbox_bench.private_home() as top:
        made = hostile_repositories.World(sandbox_bench.RealBench(top, "host"))
        asyncio.run(made.start())
        try:
            yield made
        finally:
            asyncio.run(made.bench.end())


@pytest.fixture(scope="module")
def long_lived(world: hostile_repositories.World) -> import_bench.ImportBench:
    one_shots = one_shot.BubblewrapOneShots(
        host.HostProcesses(), scratch=world.bench.top / "scratch", uid_base=640_000
    )
    return import_bench.ImportBench(world.bench.top, one_shots)


@pytest.fixture
def bench(long_lived: import_bench.ImportBench) -> Iterator[import_bench.ImportBench]:
    yield long_lived
    long_lived.reset()


def test_no_two_are_of_one_name() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert len(NAMES) >= 44


@pytest.mark.parametrize("case", hostile_repositories.CASES, ids=NAMES)
def test_a_repository(
    world: hostile_repositories.World,
    bench: import_bench.ImportBench,
    case: hostile_repositories.Case,
) -> None:
    asyncio.run(world.bring(bench, case))


def test_the_canary_sings(
    world: hostile_repositories.World, bench: import_bench.ImportBench
) -> None:
    """A program that git starts in the attacker's sandbox is noticed: so would be one elsewhere."""
    [promise] = [each for each in hostile_repositories.CASES if each.name == "a-promise-by-ssh"]
    again = hostile_repositories.Case("canary", promise.arrange, accepted=False)
    name, sha = world.prepare(again)

    async def story() -> tuple[int, str]:
        produce = producer.in_sandbox(
            world.bench.restart(), world.bench.agent, world.identity, name
        )
        await bench.bring(produce, sha)
        return sandbox_bench.AGENT_UID, await world.inside()

    attacker = asyncio.run(story())
    assert set(world.hits()) == {attacker}


@pytest.mark.skipif(not sandbox_bench.ROOT, reason="all of the above was as an ordinary user")
@pytest.mark.parametrize("story", ["repositories", "packs"])
def test_as_an_ordinary_user(story: str) -> None:
    with sandbox_bench.open_source() as source:
        told = sandbox_bench.tell_as_ordinary_user(source, "sandbox_imports", story)
    assert told.stdout == "told\n", told.stderr


def test_a_sandbox_that_is_gone_is_said_to_be(
    world: hostile_repositories.World, bench: import_bench.ImportBench
) -> None:
    async def story() -> import_bench.Outcome:
        gone = ids.new_agent_id()
        produce = producer.in_sandbox(
            world.bench.restart(), gone, world.identity, ids.AgentName("alice")
        )
        return await bench.bring(produce, "1" * 40)

    outcome = asyncio.run(story())
    assert "does not run" in outcome.text
    assert not pathlib.Path(world.proposed / "alice").exists()
