"""Real sandboxes under attack, as root and as an ordinary user."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from rigs import sandbox_attacks, sandbox_bench

pytestmark = pytest.mark.system
EVERY_STORY = pytest.mark.parametrize("story", sandbox_attacks.STORIES)


@pytest.fixture(scope="module")
def source() -> Iterator[pathlib.Path]:
    with sandbox_bench.open_source() as top:
        yield top


@EVERY_STORY
def test_withstands(story: str) -> None:
    with sandbox_bench.private_home() as top:
        sandbox_bench.RealBench(top, "host").tell(sandbox_attacks.STORIES[story])


@pytest.mark.skipif(not sandbox_bench.ROOT, reason="test_withstands runs as an ordinary user")
@EVERY_STORY
def test_withstands_as_an_ordinary_user(story: str, source: pathlib.Path) -> None:
    told = sandbox_bench.tell_as_ordinary_user(source, "sandbox_attacks", story)
    assert told.stdout == "told\n", told.stderr
