"""On which line of a TOML document each key and each element of an array stands.

`tomllib` reads TOML but keeps no positions, and no maintained reader for our Python does, so
this finds them: a scanner for documents that `tomllib` has accepted already, which is why it
may be short. It judges nothing, and a test compares its paths with what `tomllib` read.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of the document down to a value."""

DEPTH: Final = 12
"""Deeper places count as the one above: a dotted key of a thousand parts would else cost a
million entries."""

_BLANK: Final = re.compile(r"[ \t]*")
_BETWEEN: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})|'
    r"'''.*?'''(?:'{0,2})|"
    r'"(?:[^"\\\n]|\\.)*"|'
    r"'[^'\n]*'",
    re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\n]*")


def find(text: str) -> dict[Path, int]:
    """The line, counted from 1, of every key, table and array element of a valid *text*."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}
        """How many tables an array of tables has so far."""

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_BETWEEN)
            if self._at >= len(self._text):
                return self._lines
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        line = self._line()
        is_array = self._peek("[[")
        self._at += 2 if is_array else 1
        *outer, last = self._keys()
        path: Path = ()
        for key in outer:
            path = self._enter(_below(path, key), line)
        path = _below(path, last)
        if is_array:
            self._counts[path] = self._counts.get(path, 0) + 1
        self._at += 2 if is_array else 1
        return self._enter(path, line)

    def _enter(self, path: Path, line: int) -> Path:
        """Note a key, and go into the newest table where it names an array of tables."""
        self._lines.setdefault(path, line)
        if path not in self._counts:
            return path
        newest = _below(path, self._counts[path] - 1)
        self._lines.setdefault(newest, line)
        return newest

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = _below(path, key)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> list[str]:
        """A dotted key; leaves off in front of what follows it."""
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            if self._text[self._at] in "\"'":
                quoted = self._skip(_STRING)
                keys.append(str(tomllib.loads(f"x = {quoted}")["x"]))
            else:
                keys.append(self._skip(_BARE))
            self._skip(_BLANK)
            if not self._peek("."):
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_BLANK)
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline(path)
        elif self._text[self._at] in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_PLAIN)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BETWEEN)
            if self._peek("]"):
                break
            element = _below(path, index)
            self._lines.setdefault(element, self._line())
            self._value(element)
            index += 1
            self._skip(_BETWEEN)
            if self._peek(","):
                self._at += 1
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BETWEEN)
            if self._peek("}"):
                break
            self._pair(path)
            self._skip(_BETWEEN)
            if self._peek(","):
                self._at += 1
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Go past what *pattern* matches here and return it; never stands still for ever."""
        found = pattern.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return found[0]

    def _peek(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1


def _below(path: Path, part: str | int) -> Path:
    return (*path, part) if len(path) < DEPTH else path
