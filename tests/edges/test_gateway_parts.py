"""The parts of the gateway that need no connection: upstreams and the counting of tokens."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import errors, turns
from hyperhive.edges import gateway
from hyperhive.edges.gateway import usage


def test_an_upstream_shows_no_credential() -> None:
    made = gateway.token_upstream("https://api.example.org/base/", "secret-token")
    assert "secret-token" not in repr(made)
    assert made.shown == "https://api.example.org"


@pytest.mark.parametrize(
    "base",
    ["ftp://x", "api.example.org", "http://", "https://u:p@x", "https://x/?a=b", "http://x:99999"],
)
def test_a_base_url_must_be_plain(base: str) -> None:
    with pytest.raises(errors.HiveError) as caught:
        gateway.open_upstream(base)
    assert caught.value.kind is errors.ErrorKind.INVALID
    assert "p@" not in caught.value.message


@pytest.mark.parametrize("key", ["", " ", "a b", "sk\r\nx: y", "schlüssel"])
def test_a_credential_must_be_one_word_and_is_not_quoted(key: str) -> None:
    with pytest.raises(errors.HiveError) as caught:
        gateway.api_key_upstream("https://x", key)
    assert key.strip() == "" or key not in caught.value.message


STREAM = (
    b"event: message_start\r\ndata: "
    + b'{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}\r\n\r\n'
    + b'data: {"type":"content_block_delta","delta":{"text":"\\"usage\\": {}"}}\n\n'
    + b'data: {"type":"message_delta","usage":{"output_tokens":true,"input_tokens":-1}}\n\n'
    + b'data: {"usage": nonsense\n\n'
    + b'data: {"type":"message_delta","usage":{"output_tokens":40}}\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_counting_does_not_depend_on_how_the_bytes_come(cuts: list[int]) -> None:
    tap = usage.UsageTap("text/event-stream; charset=utf-8")
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        tap.feed(STREAM[start:end])
    assert tap.finish() == turns.Usage(input_tokens=7, output_tokens=40, context_tokens=7)


def test_counting_gives_up_on_a_line_without_end_and_goes_on_after_it() -> None:
    tap = usage.UsageTap("text/event-stream")
    for _ in range(40):
        tap.feed(b"x" * 100_000)
    assert len(tap._held) <= usage.LINE_MAX
    tap.feed(b"\n" + STREAM)
    assert tap.finish() == turns.Usage(input_tokens=7, output_tokens=40, context_tokens=7)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usage": 3}', b'{"type":"error"}'])
def test_an_answer_that_tells_no_tokens_counts_nothing(body: bytes) -> None:
    tap = usage.UsageTap("application/json")
    tap.feed(body)
    assert tap.finish() is None
