"""JSON from outside, read so that nothing surprising gets further than this line.

Python's own parser takes NaN, duplicate keys (the last wins), lone surrogates
that blow up in the store later, and answers a thousand brackets with
RecursionError. RFC 8259 leaves all of that open, so this edge refuses it once.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, Final, NoReturn

from hyperhive.domain import errors

DEPTH_MAX: Final = 64
"""Levels of objects and arrays in one line."""

# Possessive, and an unclosed string matches to the end: linear on any input.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# An escape that may stand for NUL or for half a surrogate pair; only then is a closer look due.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def decode_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object on *line*, or raise `HiveError` INVALID saying what is wrong.

    Text may still hold NUL and lone surrogates: see `find_unstorable`.
    """
    _check_depth(line)
    try:
        value = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise errors.invalid(f"cannot read a line: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise errors.invalid(
            f"cannot read a line: not JSON: {error.msg} at character {error.pos}"
        ) from error
    except ValueError as error:
        # An integer of thousands of digits: int() refuses it with its own words.
        raise errors.invalid("cannot read a line: a number is too long") from error
    if not isinstance(value, dict):
        raise errors.invalid("cannot read a line: it is not a JSON object")
    return value


def may_be_unstorable(line: bytes) -> bool:
    """Whether `find_unstorable` could find something in what *line* decodes to; cheap."""
    return _SUSPICIOUS.search(line) is not None


def find_unstorable(value: Any) -> str | None:
    """Say where *value* holds text that no store takes (NUL, a lone surrogate); None if nowhere."""
    if isinstance(value, str):
        found = _UNSTORABLE.search(value)
        if found is None:
            return None
        return "a NUL character" if found.group() == "\x00" else "a lone surrogate character"
    if isinstance(value, dict):
        return next(
            filter(None, map(find_unstorable, itertools.chain(value, value.values()))), None
        )
    if isinstance(value, list):
        return next(filter(None, map(find_unstorable, value)), None)
    return None


def repair(value: Any) -> Any:
    """Return *value* with every such character replaced by U+FFFD: for terminal noise only."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {repair(key): repair(each) for key, each in value.items()}
    if isinstance(value, list):
        return [repair(each) for each in value]
    return value


def _check_depth(line: bytes) -> None:
    # Lexical, before parsing: counting brackets outside strings cannot overflow any stack.
    if line.count(b"[") + line.count(b"{") <= DEPTH_MAX:
        return
    brackets = _STRINGS.sub(b"", line).translate(None, _NOT_BRACKETS)
    if max(itertools.accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEPTH_MAX:
        raise errors.invalid(f"cannot read a line: nested deeper than {DEPTH_MAX} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise errors.invalid("cannot read a line: an object has the same key twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise errors.invalid("cannot read a line: a number is out of range")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise errors.invalid(f"cannot read a line: {text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
)
