"""The files of the page, read once: what is not in this table cannot be served."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Final

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Asset:
    """One file and its content type."""

    content: bytes
    content_type: str


def load() -> dict[str, Asset]:
    """Every servable file below ``static/`` by its path relative to it."""
    root = pathlib.Path(__file__).with_name("static")
    return {
        path.relative_to(root).as_posix(): Asset(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }
