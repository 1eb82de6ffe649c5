"""The generated pages say what the code says."""

from __future__ import annotations

import importlib.util
import pathlib
from types import ModuleType

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_references", ROOT / "tools" / "generate_references.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_fresh(generator: ModuleType) -> None:
    pages = generator.pages()
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "generated").iterdir()}
    assert set(written) == set(pages)
    stale = [name for name, text in pages.items() if written[name] != text]
    assert stale == [], "write them anew: .venv/bin/python tools/generate_references.py"


def test_the_pages_hold_what_they_are_for(generator: ModuleType) -> None:
    pages = generator.pages()
    assert "HIVE_HOME" in pages["settings.md"]
    assert "needs_login" in pages["states.md"]
    assert "MessageSent" in pages["events.md"]
    assert "hive request-spawn" in pages["cli.md"]
    assert "#### hive config check" in pages["cli.md"]
    assert "mcp_servers.NAME.secrets" in pages["configuration.md"]
