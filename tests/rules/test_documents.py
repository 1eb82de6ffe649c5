"""What the pages point at is there."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
TEST = re.compile(r"`(tests/[a-z_/]+(?:\.py|/)?)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    links = [link for link, _ in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: pathlib.Path) -> None:
    named = TEST.findall(page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_is_reachable_from_the_readme() -> None:
    seen: set[pathlib.Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        if page.is_dir():
            waiting += page.glob("*.md")
        elif page.suffix == ".md":
            waiting += [page.parent / link for link, _ in LINK.findall(page.read_text())]
    assert {str(page.relative_to(ROOT)) for page in PAGES if page not in seen} == set()
