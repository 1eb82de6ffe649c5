"""One changed file as the operator reads it: every byte of a text, or why it is not shown.

Rule: a line that is left out is one that both sides have, at the same place and byte for
byte. What is too large or no text is listed with size and hashes, as ``not read``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hyperhive.ports import config_repo
from hyperhive.services import line_diff, visible

TEXT_MAX: Final = 200_000
"""Bytes of a file that is shown; of larger ones nobody reads every line."""
LINES_MAX: Final = 10_000
"""Lines of both sides of a file that is shown."""
CONTEXT: Final = 3
BINARY_SHARE: Final = 0.1
"""Share of bytes without a picture from which on a file is no text. One NUL makes no binary:
shells and node run such a file, so it is shown."""
HEAD_BYTES: Final = 256
PLACES_MAX: Final = 20
_WITHOUT_PICTURE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\udc80-\udcff]")


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """What one side of a change holds; ``content`` is None when it is not shown."""

    file: config_repo.TreeFile | None
    content: bytes | None
    sha256: str | None = None
    head: bytes = b""
    """The first bytes of what is not shown."""

    @classmethod
    def unread(cls, file: config_repo.TreeFile, content: bytes | None) -> Side:
        """A file that is only listed; its content, if there is one, is hashed and let go."""
        if content is None:
            return cls(file, None)
        return cls(file, None, hashlib.sha256(content).hexdigest(), content[:HEAD_BYTES])


class _Reader:
    """Shows each different line once."""

    def __init__(self) -> None:
        self._shown: dict[bytes, visible.Shown] = {}

    def show(self, line: bytes) -> visible.Shown:
        """A line, with or without its line feed, as it is shown."""
        text = line.removesuffix(b"\n")
        shown = self._shown.get(text)
        if shown is None:
            shown = self._shown[text] = visible.show(text)
        return shown

    def row(self, sign: str, line: bytes) -> dict[str, Any]:
        """One row; ``open`` says that no line feed ends it."""
        row: dict[str, Any] = {"sign": sign, "text": self.show(line).text}
        return row if line.endswith(b"\n") else row | {"open": True}


def count_lines(*sides: bytes | None) -> int:
    """How many lines these have together."""
    return sum(content.count(b"\n") + 1 for content in sides if content)


def split_lines(content: bytes) -> list[bytes]:
    """Return the lines with their line feeds; the last may have none. Only LF ends a line."""
    lines = content.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def is_binary(content: bytes) -> bool:
    """Whether showing it as text would show hardly anything but escapes."""
    text = content.decode("utf-8", "surrogateescape")
    odd = sum(
        1 for sign in text if (sign < " " and sign not in "\t\n\r") or "\udc80" <= sign <= "\udcff"
    )
    return odd > max(8, len(text) * BINARY_SHARE)


def view(path: str, before: Side, after: Side, budget: line_diff.Budget) -> dict[str, Any]:
    """Return the change of one file as JSON."""
    kind = "text"
    if _is_left_out(before) or _is_left_out(after):
        kind = "large"
    elif any(side.content is not None and is_binary(side.content) for side in (before, after)):
        kind = "binary"
    view: dict[str, Any] = {
        "path": visible.show_text(path),
        "change": _name_change(before.file, after.file),
        **_describe("_before", before),
        **_describe("", after),
        "kind": kind,
        "added": 0,
        "removed": 0,
        "marks": [],
        "hunks": [],
    }
    if kind == "text":
        old, new = split_lines(before.content or b""), split_lines(after.content or b"")
        different = _find_different(line_diff.find_same(old, new, budget))
        added = [number for each in different for number in range(each.b, each.b_end)]
        reader = _Reader()
        view["hunks"] = _cut_hunks(old, new, different, reader)
        view["added"] = len(added)
        view["removed"] = sum(each.a_end - each.a for each in different)
        view["marks"] = _find_marks(((number + 1, new[number]) for number in added), reader)
    return view


def show_content(side: Side) -> dict[str, Any]:
    """Return one whole file as JSON, for the viewer."""
    content = side.content
    kind = "large" if content is None else "binary" if is_binary(content) else "text"
    lines = split_lines(content or b"") if kind == "text" else []
    reader = _Reader()
    return {
        "path": "" if side.file is None else visible.show_text(side.file.path),
        **_describe("", side),
        "kind": kind,
        "marks": _find_marks(enumerate(lines, 1), reader),
        "rows": [reader.row(" ", line) for line in lines],
    }


def _is_left_out(side: Side) -> bool:
    return side.file is not None and side.content is None


def _name_change(before: config_repo.TreeFile | None, after: config_repo.TreeFile | None) -> str:
    if before is None:
        return "added"
    return "removed" if after is None else "changed"


def _describe(suffix: str, side: Side) -> dict[str, Any]:
    file, content = side.file, side.content
    if file is None:
        return {f"{name}{suffix}": None for name in ("mode", "size", "blob", "sha256", "head")}
    sha256, head = side.sha256, side.head
    if content is not None:
        sha256 = hashlib.sha256(content).hexdigest()
        head = content[:HEAD_BYTES] if is_binary(content) else b""
    return {
        f"mode{suffix}": file.mode,
        f"size{suffix}": file.size,
        f"blob{suffix}": file.blob,
        f"sha256{suffix}": sha256,
        f"head{suffix}": head.hex(" ") or None,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class _Stretch:
    """Lines that differ: from ``a`` to ``a_end`` they give way to ``b`` to ``b_end``."""

    a: int
    a_end: int
    b: int
    b_end: int


def _find_different(same: Sequence[line_diff.Same]) -> list[_Stretch]:
    found: list[_Stretch] = []
    a = b = 0
    for each in same:
        if a < each.before or b < each.after:
            found.append(_Stretch(a, each.before, b, each.after))
        a, b = each.before + each.length, each.after + each.length
    return found


def _cut_hunks(
    old: Sequence[bytes], new: Sequence[bytes], different: Sequence[_Stretch], reader: _Reader
) -> list[dict[str, Any]]:
    groups: list[list[_Stretch]] = []
    for stretch in different:
        if groups and stretch.a - groups[-1][-1].a_end <= 2 * CONTEXT:
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    return [_hunk(old, new, group, reader) for group in groups]


def _hunk(
    old: Sequence[bytes], new: Sequence[bytes], group: list[_Stretch], reader: _Reader
) -> dict[str, Any]:
    lead = min(CONTEXT, group[0].a)
    at = group[0].b - lead
    rows: list[dict[str, Any]] = []
    for stretch in group:
        rows += [reader.row(" ", line) for line in new[at : stretch.b]]
        rows += [reader.row("-", line) for line in old[stretch.a : stretch.a_end]]
        rows += [reader.row("+", line) for line in new[stretch.b : stretch.b_end]]
        at = stretch.b_end
    rows += [reader.row(" ", line) for line in new[at : at + CONTEXT]]
    return {"before": group[0].a - lead + 1, "after": group[0].b - lead + 1, "rows": rows}


def _find_marks(lines: Iterable[tuple[int, bytes]], reader: _Reader) -> list[dict[str, Any]]:
    """What is unusual in numbered lines: each mark with how often, and the first places."""
    places: dict[visible.Mark, list[int]] = {}
    for number, line in lines:
        for mark in reader.show(line).marks:
            places.setdefault(mark, []).append(number)
    return [
        {
            "mark": mark.name.lower(),
            "says": mark.value,
            "count": len(found),
            "lines": found[:PLACES_MAX],
        }
        for mark, found in sorted(places.items(), key=lambda item: item[0].name)
    ]
