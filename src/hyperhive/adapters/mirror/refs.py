"""Which refs the forge gets, and in which steps: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from hyperhive import ports

CHUNK: Final = 50
"""Refs in one atomic push: a forge spends about 0.15 s on each, so progress survives a fault."""
MAIN: Final = "refs/heads/main"

_KINDS: Final = "|".join(kind.value for kind in ports.TagKind)
_OURS: Final = re.compile(rf"refs/heads/main|refs/tags/(?:{_KINDS})/[!-~]+")
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LISTED: Final = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\t(refs/[!-~]+)")


def ours(refs: Mapping[str, str]) -> dict[str, str]:
    """Of *refs* those that are mirrored: main and the tags of the six kinds."""
    return {
        name: sha for name, sha in refs.items() if _OURS.fullmatch(name) and _SHA.fullmatch(sha)
    }


def parse_listing(output: bytes) -> dict[str, str]:
    """What ``git ls-remote --refs`` printed; lines that are no ref of ours do not matter."""
    found = (_LISTED.fullmatch(line) for line in output.splitlines())
    return ours({match[2].decode(): match[1].decode() for match in found if match})


def plan(wanted: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """The refspecs that turn *there* into *wanted*, main first; main is never deleted."""
    changed = sorted(
        (name for name, sha in wanted.items() if there.get(name) != sha),
        key=lambda name: (name != MAIN, name),
    )
    gone = sorted(name for name in there if name not in wanted and name != MAIN)
    return [f"+{wanted[name]}:{name}" for name in changed] + [f":{name}" for name in gone]


def chunks(specs: list[str]) -> Iterator[list[str]]:
    """*specs* in steps of `CHUNK`."""
    for start in range(0, len(specs), CHUNK):
        yield specs[start : start + CHUNK]


def moved(wanted: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Tags that somebody has set to another object on the forge: ours never move."""
    return sorted(
        name for name, sha in there.items() if name != MAIN and wanted.get(name, sha) != sha
    )
