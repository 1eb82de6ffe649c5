"""What a line may be before anything reads it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, strategies

from hyperhive.domain import errors
from hyperhive.edges import strict_json

DEEP = strict_json.DEPTH_MAX


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"nope", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1}{"b":2}', "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":1,"a":1}', "same key twice"),
        (b'{"b":[{"a":1,"a":2}]}', "same key twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":' + b"1" * 10_000 + b"}", "too long"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a":' * (DEEP + 1) + b"1" + b"}" * (DEEP + 1), "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":"' + b"[" * 100 + b'","b":' + b"[" * (DEEP + 1), "nested deeper"),
    ],
)
def test_a_line_that_is_not_one_plain_object_is_refused(line: bytes, words: str) -> None:
    with pytest.raises(errors.HiveError, match=words) as refusal:
        strict_json.decode_object(line)
    assert refusal.value.kind is errors.ErrorKind.INVALID


def test_as_deep_as_allowed_is_fine_and_brackets_in_strings_do_not_count() -> None:
    line = b'{"a":' * DEEP + b'"' + b"[{" * 1000 + b'"' + b"}" * DEEP
    assert strict_json.decode_object(line) == json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        b'"' + b'\\"' * 2_000_000 + b"[" * 100,
        b'"\\' * 1_300_000 + b"[" * 100,
        b'"a' * 1_300_000 + b"[" * 100,
        b'"' * 4_000_000 + b"[" * 100,
        b"[]" * 2_000_000,
        b"\\" * 4_000_000 + b"[" * 100,
    ],
)
def test_no_line_takes_more_than_linear_time(line: bytes) -> None:
    before = time.process_time()
    with pytest.raises(errors.HiveError):
        strict_json.decode_object(line)
    assert time.process_time() - before < 5.0


TEXT = strategies.text(strategies.characters(codec=None, exclude_categories=()))
VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | TEXT,
    lambda inner: strategies.lists(inner) | strategies.dictionaries(TEXT, inner),
)


@given(VALUES)
def test_nothing_unstorable_is_overlooked(value: object) -> None:
    line = json.dumps({"value": value}).encode()
    decoded = strict_json.decode_object(line)
    text = json.dumps(value, ensure_ascii=False)
    unstorable = "\\u0000" in text.replace("\\\\", "") or any(
        "\ud800" <= letter <= "\udfff" for letter in text
    )
    assert (strict_json.find_unstorable(decoded) is not None) == unstorable
    if unstorable:
        assert strict_json.may_be_unstorable(line)
    repaired = strict_json.repair(decoded)
    assert strict_json.find_unstorable(repaired) is None
    json.dumps(repaired, ensure_ascii=False).encode()
    if not unstorable:
        assert repaired == decoded
