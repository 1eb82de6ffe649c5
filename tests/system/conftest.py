"""What system tests need of the host."""

from __future__ import annotations

import os
import pathlib

import pytest

VERSION = "2.1.330"


@pytest.fixture(scope="session")
def claude_binary() -> str:
    """The real claude program: HIVE_TEST_CLAUDE, or the pinned one in HIVE_TEST_CACHE."""
    named = os.environ.get("HIVE_TEST_CLAUDE")
    cache = os.environ.get("HIVE_TEST_CACHE")
    path = pathlib.Path(named) if named else pathlib.Path(cache or "/") / f"claude/{VERSION}/claude"
    if not os.access(path, os.X_OK):
        pytest.fail(
            f"no claude program at {path}: set HIVE_TEST_CLAUDE to one, or HIVE_TEST_CACHE to a "
            f"cache that `hive up` has filled"
        )
    return str(path)


@pytest.fixture(scope="session")
def test_cache(claude_binary: str, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A hive's cache: the shared one of ./check, or one that holds the named claude program."""
    shared = os.environ.get("HIVE_TEST_CACHE")
    if shared:
        return pathlib.Path(shared)
    cache = tmp_path_factory.mktemp("cache")
    place = cache / "claude" / VERSION / "claude"
    place.parent.mkdir(parents=True)
    place.symlink_to(claude_binary)
    return cache
