"""Fixtures of the port contracts."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest

# The stories and the driver are plain modules: an ordinary user runs them without pytest.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def open_source() -> Iterator[pathlib.Path]:
    """A copy of the source and the stories that every user of this host can read."""
    here = pathlib.Path(__file__).parent
    top = pathlib.Path(tempfile.mkdtemp(prefix="hive-source-", dir="/tmp"))
    skip = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(here.parents[1] / "src", top / "src", ignore=skip)
    for name in ("sandbox_stories.py", "sandbox_driver.py"):
        shutil.copy(here / name, top / name)
    for path in (top, *top.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def home() -> Iterator[pathlib.Path]:
    """A directory with a short path, closed to other users as a hive's home is."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="hive-test-", dir="/tmp"))
    os.chmod(top, 0o700)
    yield top
    shutil.rmtree(top)
