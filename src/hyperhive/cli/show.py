"""Facts on a terminal: aligned, escaped, coloured only for people.

Rule: text that an agent wrote never moves the cursor, changes the title or turns the
writing direction; what would is shown as an escape sequence that can be read.
"""

from __future__ import annotations

import datetime
import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import click

_COLORS: Final = {
    "running": "green", "ok": "green", "idle": "green", "handled": "green", "deployed": "green",
    "thinking": "cyan", "starting": "cyan", "spawning": "cyan", "building": "cyan",
    "approved": "cyan", "queued": "yellow", "leased": "cyan", "pending": "yellow",
    "stopping": "yellow", "compacting": "cyan", "notice": "yellow", "rate_limited": "yellow",
    "backing_off": "yellow", "needs_login": "red", "crashed": "red", "halted": "red",
    "failed": "red", "dead": "red", "denied": "red", "broken": "red", "lost": "red",
}  # fmt: skip


def clean(text: object, *, lines: bool = False) -> str:
    """Return *text* with control, format and bidirectional characters made visible.

    With *lines* a newline stays a newline and a tab becomes spaces.
    """
    out: list[str] = []
    for sign in str(text):
        if lines and sign == "\n":
            out.append(sign)
        elif lines and sign == "\t":
            out.append("    ")
        elif unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            code = ord(sign)
            out.append(f"\\x{code:02x}" if code < 256 else f"\\u{{{code:x}}}")
        else:
            out.append(sign)
    return "".join(out)


def first_line(text: object, width: int) -> str:
    """The beginning of *text* on one line of at most *width* columns."""
    flat = clean(" ".join(str(text).split()))
    if measure(flat) <= width:
        return flat
    kept = ""
    for sign in flat:
        if measure(kept + sign) >= width:
            break
        kept += sign
    return kept + "…"


def measure(text: str) -> int:
    """Columns that *text* takes on a terminal (wide letters two, combining marks none)."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def age(stamp: str | None) -> str:
    """How long ago an RFC 3339 time was: ``12s``, ``5m``, ``3h``, ``9d``; ``-`` for none."""
    if stamp is None:
        return "-"
    moment = datetime.datetime.fromisoformat(stamp)
    # Only for the eye: nothing is decided by it, so it needs no clock that tests can move.
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251
    return duration((now - moment).total_seconds())


def duration(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def size(count: float) -> str:
    """Bytes in a unit that people read, e.g. ``3.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def paint(word: str, color: bool) -> str:
    """Colour a state's name by what it means."""
    return click.style(word, fg=_COLORS[word]) if color and word in _COLORS else word


def bold(text: str, color: bool) -> str:
    """Bold where colours are shown."""
    return click.style(text, bold=True) if color else text


def dim(text: str, color: bool) -> str:
    """Dim where colours are shown."""
    return click.style(text, dim=True) if color else text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, color: bool) -> None:
    """Print aligned columns under *heads*; cells are escaped here, states are coloured."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [
        max(measure(head), *(measure(row[column]) for row in cells), 0)
        for column, head in enumerate(heads)
    ]
    last = len(heads) - 1

    def pad(text: str, column: int) -> str:
        return "" if column == last else " " * (widths[column] - measure(text))

    echo("  ".join(bold(head, color) + pad(head, i) for i, head in enumerate(heads)))
    for row in cells:
        echo("  ".join(paint(cell, color) + pad(cell, i) for i, cell in enumerate(row)))


def pairs(rows: Sequence[tuple[str, str]], *, color: bool) -> None:
    """Print names with their values, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        echo(f"{dim(name.ljust(width), color)}  {paint(clean(value), color)}")


def echo(text: str = "") -> None:
    """Print one line to stdout and let it go at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print one line to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def as_json(value: Any) -> None:
    """Print *value* as one line of JSON, ASCII only, so that nothing in it is a control sign."""
    echo(json.dumps(value, ensure_ascii=True, separators=(",", ":")))
