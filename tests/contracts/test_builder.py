"""The contract of builders, told to the memory twin and to the real ones."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from hyperhive import ports
from hyperhive.adapters.builder import memory
from hyperhive.domain import configuration, errors
from rigs import builder_stories as stories
from rigs import layers_bench, nix_bench

EVERY_STORY = pytest.mark.parametrize("story", stories.STORIES)


class MemoryBench:
    """The twin on a shelf of its own."""

    small = configuration.Packages(pip=("six",))

    def __init__(self, top: pathlib.Path) -> None:
        self.top = top
        self.shelf = memory.Shelf()
        self.builder: ports.Builder = self.restart()

    def restart(self) -> ports.Builder:
        return memory.MemoryBuilder(self.shelf)


@EVERY_STORY
def test_in_memory(story: str, tmp_path: pathlib.Path) -> None:
    asyncio.run(stories.STORIES[story](MemoryBench(tmp_path)))


@pytest.mark.system
@EVERY_STORY
def test_in_layers(story: str, home: pathlib.Path) -> None:
    try:
        base = layers_bench.find_base()
    except LookupError as error:
        pytest.fail(str(error))
    asyncio.run(stories.STORIES[story](layers_bench.LayersBench(home, base)))


@pytest.mark.system
@EVERY_STORY
def test_in_layers_without_a_base_root(story: str, home: pathlib.Path) -> None:
    if story == "a_missing_package_fails_cleanly":
        return  # It asks for an apt package, which `test_layers` shows to be refused.
    asyncio.run(stories.STORIES[story](layers_bench.LayersBench(home, None)))


NOT_OF_NIX = (
    "an_empty_configuration_is_built_at_once",  # There is always a system to build.
    "a_package_is_built_once",  # agent.nix names packages: test_nix_builder.
    "a_missing_package_fails_cleanly",
    "inputs_are_renewed_by_name",  # The inputs have other names: test_nix_builder.
)


@pytest.mark.system
@pytest.mark.parametrize("story", sorted(stories.STORIES.keys() - set(NOT_OF_NIX)))
def test_with_nix(story: str, home: pathlib.Path) -> None:
    try:
        nix_bench.require_nix()
    except LookupError as error:
        pytest.fail(str(error))
    asyncio.run(stories.STORIES[story](nix_bench.StoriesBench(home)))


def test_the_twin_waits_at_its_gate_and_can_be_cancelled(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        bench = MemoryBench(tmp_path)
        bench.shelf.gate = asyncio.Event()
        began = asyncio.Event()
        work = bench.builder.build(stories.order(bench, bench.small), lambda _: began.set())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            await stories.until(began)
            assert bench.shelf.generations == {}
            task.cancel()
        assert bench.shelf.generations == {} and bench.shelf.made == []
        bench.shelf.gate.set()
        made = await bench.builder.build(stories.order(bench, bench.small), print)
        assert bench.shelf.made == [made.id]

    asyncio.run(story())


def test_the_twin_can_be_unavailable(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        bench = MemoryBench(tmp_path)
        bench.shelf.unavailable = "the disk is full"
        work = bench.builder.build(stories.order(bench), print)
        said = await stories.refused(work, errors.ErrorKind.UNAVAILABLE)
        assert said == "cannot build alice: the disk is full"
        assert (await bench.builder.probe())[0].severity is ports.Severity.BROKEN

    asyncio.run(story())
