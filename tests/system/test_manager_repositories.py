"""The manager works on configurations with plain git, in every view that a sandbox can have."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from hyperhive.adapters.sandbox import bubblewrap
from rigs import sandbox_bench
from rigs import sandbox_repositories as stories

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
EVERY_STORY = pytest.mark.parametrize("story", stories.STORIES)


@pytest.fixture
def home() -> Iterator[pathlib.Path]:
    with sandbox_bench.private_home() as top:
        yield top


@pytest.fixture(scope="module")
def source() -> Iterator[pathlib.Path]:
    with sandbox_bench.open_source() as top:
        yield top


@EVERY_STORY
def test_on_the_hosts_programs(story: str, home: pathlib.Path) -> None:
    sandbox_bench.RealBench(home, "host").tell(stories.STORIES[story])


@pytest.mark.parametrize("overlay", [True, False], ids=["overlay", "read-only"])
@EVERY_STORY
def test_on_the_base_root(
    story: str,
    overlay: bool,
    home: pathlib.Path,
    test_cache: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not overlay:
        # As an ordinary user has it, who cannot mount one.
        async def no(*_: object) -> bool:
            return False

        monkeypatch.setattr(bubblewrap.BubblewrapSandbox, "can_overlay", no)
    sandbox_bench.RealBench(home, "base", test_cache).tell(stories.STORIES[story])


@pytest.mark.skipif(os.geteuid() != 0, reason="the first test runs as an ordinary user already")
@EVERY_STORY
def test_as_an_ordinary_user(story: str, source: pathlib.Path) -> None:
    told = sandbox_bench.tell_as_ordinary_user(source, "sandbox_repositories", story)
    assert told.stdout.endswith("told\n"), told.stderr
