"""Fixtures of the port contracts."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from rigs import sandbox_bench


@pytest.fixture(scope="session")
def open_source() -> Iterator[pathlib.Path]:
    """A copy of the source and the stories that every user of this host can read."""
    with sandbox_bench.open_source() as top:
        yield top


@pytest.fixture
def home() -> Iterator[pathlib.Path]:
    """A directory with a short path, closed to other users as a hive's home is."""
    with sandbox_bench.private_home() as top:
        yield top
