"""Makes foreign text harmless and visible: nothing of it can move a cursor or hide."""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me"})
"""Categories that are shown by number: they draw nothing, or change what stands beside them."""


def visible(text: str | bytes, limit: int = 200) -> str:
    r"""Return *text* on one line, cut to *limit* characters of the original.

    Bytes that are not UTF-8 become ``\xNN``, what draws nothing ``\u{NNNN}``, a backslash
    doubles: two different texts of at most *limit* characters never look the same.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "surrogateescape")
    cut = text[:limit]
    shown = "".join(_show(each) for each in cut)
    return shown if len(text) <= limit else f"{shown}…"


def _show(character: str) -> str:
    if " " <= character <= "~":
        return "\\\\" if character == "\\" else character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if unicodedata.category(character) in _HIDDEN or character.isspace():
        return f"\\u{{{number:04x}}}"
    return character
