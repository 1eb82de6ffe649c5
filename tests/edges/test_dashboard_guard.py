"""Who may speak to the page at all."""

from __future__ import annotations

import pytest

from hyperhive.domain import errors
from hyperhive.edges.dashboard import guard

GOOD = {"Host": "127.0.0.1:7000"}
FETCH = {**GOOD, "Origin": "http://127.0.0.1:7000", "Sec-Fetch-Site": "same-origin"}
JSON = {"Content-Type": "application/json", "X-Hive": "page"}


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("method", "headers", "navigable"),
    [
        ("GET", GOOD, True),
        ("GET", {"Host": "LOCALHOST:7000", "Sec-Fetch-Site": "none"}, True),
        ("GET", {"Host": "[::1]:7000", "Sec-Fetch-Site": "same-origin"}, False),
        ("GET", {"Host": "hive.localhost:7000"}, False),
        ("POST", {**FETCH, **JSON}, False),
        ("POST", {**FETCH, **JSON, "Content-Type": "application/json; charset=utf-8"}, False),
        ("POST", {**GOOD, **JSON, "Origin": "http://localhost:7000"}, False),
    ],
)
def test_the_guard_lets_the_page_itself_through(
    method: str, headers: dict[str, str], navigable: bool
) -> None:
    guard.Guard(7000).check(method, raw(headers), navigable=navigable)


@pytest.mark.parametrize(
    ("method", "headers", "navigable"),
    [
        ("GET", {}, True),
        ("GET", {"Host": "evil.test:7000"}, True),
        ("GET", {"Host": "127.0.0.1:7001"}, True),
        ("GET", {"Host": "127.0.0.1"}, True),
        ("GET", {"Host": "127.0.0.1:7000.evil.test"}, True),
        ("GET", {"Host": "127.0.0.2:7000"}, True),
        ("GET", {"Host": "0.0.0.0:7000"}, True),
        ("GET", {**GOOD, "Sec-Fetch-Site": "none"}, False),
        ("GET", {**GOOD, "Sec-Fetch-Site": "same-site"}, True),
        ("GET", {**GOOD, "Sec-Fetch-Site": "cross-site"}, True),
        ("GET", {**GOOD, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "no-cors"}, True),
        ("GET", {**GOOD, "Origin": "http://evil.test"}, False),
        ("GET", {**GOOD, "Origin": "null"}, False),
        ("POST", {**GOOD, **JSON}, False),
        ("POST", {**GOOD, **JSON, "Sec-Fetch-Site": "none"}, True),
        ("POST", {**FETCH, **JSON, "Origin": "null"}, False),
        ("POST", {**FETCH, **JSON, "Origin": "http://127.0.0.1:7001"}, False),
        ("POST", {**FETCH, **JSON, "Origin": "https://127.0.0.1:7000"}, False),
        ("POST", {**FETCH, **JSON, "Sec-Fetch-Site": "same-site"}, False),
        ("POST", {**FETCH, **JSON, "Content-Type": "text/plain"}, False),
        ("POST", {**FETCH, "X-Hive": "page"}, False),
        ("POST", {**FETCH, "Content-Type": "application/json"}, False),
        ("DELETE", {**GOOD, **JSON}, False),
    ],
)
def test_the_guard_refuses_everybody_else(
    method: str, headers: dict[str, str], navigable: bool
) -> None:
    with pytest.raises(errors.HiveError):
        guard.Guard(7000).check(method, raw(headers), navigable=navigable)


@pytest.mark.parametrize("name", ["Host", "Origin", "X-Hive", "Content-Type", "Cookie"])
def test_the_guard_refuses_a_header_given_twice(name: str) -> None:
    headers = raw({**FETCH, **JSON, "Cookie": "a=b"})
    again = [*headers, (name.lower().encode(), headers[0][1])]
    with pytest.raises(errors.HiveError, match="twice"):
        guard.Guard(7000).check("POST", again, navigable=False)
