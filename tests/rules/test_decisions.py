"""Architecture decision records are numbered, whole and findable."""

from __future__ import annotations

import pathlib
import re

import pytest

DIRECTORY = pathlib.Path(__file__).resolve().parents[2] / "docs" / "adr"
RECORDS = sorted(DIRECTORY.glob("*.md"))
SECTIONS = [("## Context", "## Question"), ("## Decision",), ("## Consequences",)]


def test_numbers_have_no_gap_and_no_double() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_title_status_and_sections(path: pathlib.Path) -> None:
    assert re.fullmatch(r"\d{4}(-[a-z0-9]+)+\.md", path.name)
    lines = path.read_text().splitlines()
    assert re.fullmatch(rf"# {int(path.name[:4])}\. \S.*[^.]", lines[0]), lines[0]
    [status] = [line for line in lines if line.startswith("Status: ")]
    assert re.fullmatch(r"Status: (accepted|proposed|superseded by \d{4})", status)
    found = [line for line in lines if line.startswith("## ")]
    for allowed in SECTIONS:
        assert any(section in found for section in allowed), allowed
