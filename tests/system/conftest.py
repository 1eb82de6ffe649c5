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
