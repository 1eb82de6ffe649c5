"""Which file names a configuration may have: those that every reader and file system sees alike."""

from __future__ import annotations

import dataclasses
import unicodedata
from typing import Final

PATH_BYTES: Final = 255
DEPTH: Final = 16
ALLOWED_GIT_NAME: Final = ".gitignore"
_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNSEEN: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
"""Characters of visible categories that draw nothing (Default_Ignorable_Code_Point, and the
blank Braille pattern)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Offence:
    """Which rule a name breaks, and what to do about it."""

    rule: str
    remedy: str


def judge_name(name: bytes) -> Offence | None:
    """Return what is wrong with one component of a path; None when it may stay."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return Offence("a name is not UTF-8", "rename it")
    if text in ("", ".", "..") or "/" in text:
        return Offence("a name is no name", "make the commit with git itself")
    for character in text:
        number = ord(character)
        if unicodedata.category(character) in _UNSEEN_CATEGORIES or number in _UNSEEN:
            return Offence(
                f"a name has the character U+{number:04X}, which nobody can see", "rename it"
            )
        if character.isspace() and character != " ":
            return Offence(f"a name has the unusual space U+{number:04X}", "rename it")
    return _judge_text(text)


def _judge_text(text: str) -> Offence | None:
    if unicodedata.normalize("NFC", text) != text:
        return Offence("a name is not in Unicode normal form NFC", "rename it to its NFC form")
    if text != text.strip():
        return Offence("a name begins or ends with a space", "rename it")
    if text.startswith("-"):
        return Offence("a name begins with a hyphen, as options do", "rename it")
    for character in "\\:~":
        if character in text:
            return Offence(f"a name has the character {character}", "rename it")
    if fold(text).startswith(".git") and text != ALLOWED_GIT_NAME:
        return Offence(
            "names that begin with .git mean something to git; only .gitignore is allowed",
            "remove it; attributes, submodules and nested repositories do not work here",
        )
    return None


def fold(text: str) -> str:
    """Return what two names have in common when some file system or eye takes them for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
