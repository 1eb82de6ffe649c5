"""Text that somebody else wrote, so that every byte of it can be seen.

Rule: nothing disappears, and no two texts look the same. What has no picture of its own,
turns the direction, or looks like something else is written out between ``⟦`` and ``⟧``:
``⟦NUL⟧``, ``⟦U+202E⟧``, ``⟦0xE9⟧`` for a byte that is no UTF-8. These two signs themselves
are always written out, so the bytes can be had back from what is shown. Sources: Unicode
TR 36 and TR 39, "Trojan Source" (CVE-2021-42574).
"""

# The tables below name look-alikes, which is what this rule warns of.
# ruff: noqa: RUF001

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import unicodedata
from typing import Final

LONG_LINE: Final = 500
"""Characters of a line from which on it counts as long: its end may be missed."""
GAP: Final = 60
"""Blanks in a row behind which a reader does not expect anything any more."""


class Mark(enum.Enum):
    """Why a text needs a second look. Every one must be acknowledged with an approval."""

    CONTROL = "control characters"
    DIRECTION = "turns the writing direction"
    INVISIBLE = "invisible characters"
    LOOK_ALIKE = "characters that look like others"
    NOT_NORMAL = "characters composed in an unusual way"
    NOT_UTF8 = "bytes that are no UTF-8"
    BLANK = "unusual blanks"
    LONG_LINE = "very long lines"
    GAP = "text behind a wide gap"
    CARRIAGE_RETURN = "carriage returns"


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """A piece of text as it is shown, and what is unusual in it."""

    text: str
    marks: frozenset[Mark] = frozenset()


_PLAIN: Final = re.compile(rb"[\t\x20-\x7e]*")
_GAP: Final = re.compile(rf"[ \t]{{{GAP},}}(?=[^ \t])")
# Text of most languages that needs no closer look: a shortcut only, `show` says the same without.
# Letters of Latin-1 and Latin Extended without those that are forms of others, usual
# punctuation, Han, kana, Hangul.
_USUAL: Final = re.compile(
    r"[\t\x20-\x7e\u00a1-\u00ac\u00ae-\u017e\u0180-\u01bf\u2013\u2014\u2018\u2019\u201c-\u201e"
    r"\u2022\u2026\u20ac\u3001\u3002\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fcc\uac00-\ud7a3]*"
)
_MAYBE_GAP: Final = re.compile(rb"[ \t]{%d}" % GAP)
_WORD: Final = re.compile(r"\w+")
_CONTROL_NAMES: Final = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR",
    "SO", "SI", "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC",
    "FS", "GS", "RS", "US",
)  # fmt: skip
_BRACKETS: Final = "⟦⟧"
# Letters and signs without a picture that are not of category Cf: Hangul and Braille blanks,
# grapheme joiner, Khmer vowels, variation selectors.
_FILLERS: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)
# Scripts whose letters are taken for Latin ones when they stand in one word with them.
_MIXED: Final = frozenset(
    {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "GEORGIAN", "DESERET"}
)
# Whole words of these look Latin (TR 39, confusables: the ones that need no unusual font).
_TWINS: Final = frozenset(
    "аеорсхуіјѕһӏԁԛԝѵАВЕКМНОРСТХУІЈЅҮԌ" + "αιοκνρυχγτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "օսոհաՏՕԼ"
)
# Signs that are taken for / : . - ! ; * and their like.
_SIGN_TWINS: Final = frozenset("∕⁄⧸⟋∶꞉ː։׃․‐‑−˗ǃ∗⁎‚ʼˈʹ﹣ꓸ‹›ᐸᐳ∣ǀ")


def show(raw: bytes) -> Shown:
    """Return *raw*, without a line's end, as text that hides nothing."""
    if len(raw) < LONG_LINE and _PLAIN.fullmatch(raw) and not _MAYBE_GAP.search(raw):
        return Shown(raw.decode("ascii"))
    text = raw.decode("utf-8", "surrogateescape")
    marks: set[Mark] = set()
    if len(text) >= LONG_LINE:
        marks.add(Mark.LONG_LINE)
    if _GAP.search(text):
        marks.add(Mark.GAP)
    if _USUAL.fullmatch(text):
        return Shown(text, frozenset(marks))
    normal = unicodedata.is_normalized("NFC", text)
    twins = _find_twins(text)
    out: list[str] = []
    stacked = 0
    for place, sign in enumerate(text):
        stacked = stacked + 1 if unicodedata.combining(sign) else 0
        mark = _judge(sign)
        if mark is None and place in twins:
            mark = Mark.LOOK_ALIKE
        if mark is None and (stacked > 2 or (not normal and _is_odd(sign))):
            mark = Mark.NOT_NORMAL
        if mark is None and sign not in _BRACKETS:
            out.append(sign)
            continue
        if mark is not None:
            marks.add(mark)
        out.append(_escape(sign))
    return Shown("".join(out), frozenset(marks))


def show_text(text: str) -> str:
    """Return *text* (a name, a message) with its invisible characters written out."""
    return "\n".join(show(line.encode("utf-8", "surrogatepass")).text for line in text.split("\n"))


@functools.lru_cache(maxsize=4096)
def _judge(sign: str) -> Mark | None:
    """What is wrong with one character, wherever it stands."""
    if sign in "\t ":
        return None
    code = ord(sign)
    if 0x21 <= code <= 0x7E:
        return None
    if 0xDC80 <= code <= 0xDCFF:
        return Mark.NOT_UTF8
    if sign == "\r":
        return Mark.CARRIAGE_RETURN
    if unicodedata.bidirectional(sign) in (
        "R", "AL", "AN", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    ) or code in (0x200E, 0x200F, 0x061C):  # fmt: skip
        return Mark.DIRECTION
    category = unicodedata.category(sign)
    if category == "Cc":
        return Mark.CONTROL
    if sign in _FILLERS or category in ("Cf", "Cs", "Co", "Cn"):
        return Mark.INVISIBLE
    if category in ("Zs", "Zl", "Zp"):
        return Mark.BLANK
    if sign in _SIGN_TWINS or _is_ascii_in_disguise(sign):
        return Mark.LOOK_ALIKE
    return None


def _is_ascii_in_disguise(sign: str) -> bool:
    """Whether it is another form of one ASCII character (full width, mathematical, ...)."""
    if unicodedata.decomposition(sign).startswith(("<super>", "<sub>")):
        return False
    plain = unicodedata.normalize("NFKC", sign)
    return plain != sign and len(plain) == 1 and plain.isascii()


def _is_odd(sign: str) -> bool:
    return bool(unicodedata.combining(sign)) or not unicodedata.is_normalized("NFC", sign)


def _escape(sign: str) -> str:
    code = ord(sign)
    if code < len(_CONTROL_NAMES):
        name = _CONTROL_NAMES[code]
    elif 0xDC80 <= code <= 0xDCFF:
        name = f"0x{code - 0xDC00:02X}"
    else:
        name = "DEL" if code == 0x7F else f"U+{code:04X}"
    return f"⟦{name}⟧"


@functools.lru_cache(maxsize=4096)
def _script(sign: str) -> str:
    if sign.isascii():
        return "LATIN" if sign.isalpha() else ""
    if not sign.isalpha():
        return ""
    return unicodedata.name(sign, "").partition(" ")[0]


def _find_twins(text: str) -> set[int]:
    """Places of letters that look Latin and are not, in words or lines that are Latin else."""
    found: set[int] = set()
    foreign: list[tuple[int, int]] = []
    other = False
    latin = any(sign.isascii() and sign.isalpha() for sign in text)
    for word in _WORD.finditer(text):
        scripts = {_script(sign) for sign in word[0]} - {""}
        if not scripts & _MIXED:
            continue
        places = [
            place for place, sign in enumerate(word[0], word.start()) if _script(sign) in _MIXED
        ]
        if "LATIN" in scripts:
            found.update(places)
        elif all(text[place] in _TWINS for place in places):
            foreign.append(word.span())
        else:
            # A line that is really written in that script: its short words are no disguise.
            other = True
    if latin and not other:
        for start, end in foreign:
            found.update(range(start, end))
    return {place for place in found if text[place] not in "_0123456789"}
