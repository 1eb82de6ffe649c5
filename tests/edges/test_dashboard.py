"""The page's routes: what each needs, what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path

import pytest

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import errors
from hyperhive.edges.dashboard import guard, routes
from rigs.page import Hive
from rigs.page_client import at, visited


def test_every_route_that_shows_or_changes_the_hive_needs_a_session(tmp_path: Path) -> None:
    public = {route.path for route in routes.TABLE if route.needs is routes.Needs.NOTHING}
    assert public == {"/sign-in", "/static/{name:.+}", "/api/sign-in"}

    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, _):
            for route in routes.TABLE:
                if route.needs is routes.Needs.NOTHING:
                    continue
                if route.method == "POST":
                    status, body = await browser.post(at(route.path), {})
                    assert "hive login" in body["detail"], route
                else:
                    status, body, _ = await browser.get(at(route.path))
                assert status == 401, route
                if route.needs is routes.Needs.PAGE:
                    assert "sign-in.js" in body, route
            assert hive.verbs.calls == []

    asyncio.run(story())


def test_no_get_changes_anything() -> None:
    changing = {"sign_in", "sign_out", "act"}
    assert changing <= {route.serve.__name__ for route in routes.TABLE}
    for route in routes.TABLE:
        assert (route.serve.__name__ in changing) == (route.method == "POST"), route


def test_every_answer_carries_the_security_headers(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            await hive.agent("coder")
            paths = [
                at(r.path) for r in routes.TABLE if r.method == "GET" and r.path != "/api/live"
            ]
            for path in [*paths, "/nothing", "/static/nothing", "/api/agents/BAD/log"]:
                _, _, headers = await browser.get(path)
                for name, value in guard.SECURITY_HEADERS.items():
                    assert headers[name] == value, path
            async with browser.http.get(f"{browser.url}/api/live?after=0") as stream:
                for name, value in guard.SECURITY_HEADERS.items():
                    assert stream.headers[name] == value
            _, _, refused = await browser.get("/", Host="evil.test")
            assert refused["X-Frame-Options"] == "DENY"

    asyncio.run(story())


def test_the_policy_forbids_what_injected_markup_would_need() -> None:
    policy = guard.SECURITY_HEADERS["Content-Security-Policy"]
    for part in (
        "default-src 'none'", "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    ):  # fmt: skip
        assert part in policy
    assert "unsafe" not in policy


def test_a_verb_goes_to_the_action_layer_as_the_operator(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            await hive.agent("coder")
            body = {"to": "coder", "body": "hello", "key": "k1"}
            status, answer = await browser.post("/api/actions/send", body)
            assert status == 200
            assert answer["from"] == "operator"
            assert hive.verbs.calls == [("send", body)]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("/api/actions/nothing", b"{}", 404),
        ("/api/actions/send", b"not json", 400),
        ("/api/actions/send", b"[]", 400),
        ("/api/actions/deny", b'{"id": 1, "note": "\\u0000"}', 400),
        ("/api/actions/deny", b'{"id": 1, "note": "\\ud800"}', 400),
        ("/api/actions/logs", b'{"name": "coder"}', 400),
        ("/api/actions/send", b"[" * 100_000, 400),
        ("/api/actions/send", b'{"a":"' + b"x" * routes.BODY_MAX + b'"}', 413),
        ("/api/sign-in", b'{"token": 7}', 400),
        ("/api/sign-in", b'{"token": "' + b"t" * 500 + b'"}', 400),
        ("/api/snapshot", b"{}", 405),
    ],
)
def test_bad_writes_are_refused_with_a_problem(
    tmp_path: Path, path: str, data: bytes, status: int
) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (_, browser, _clock):
            headers = {**browser.origin, "Content-Type": "application/json"}
            sent = io.BytesIO(data)
            async with browser.http.post(browser.url + path, data=sent, headers=headers) as answer:
                assert answer.status == status
                assert answer.content_type == "application/problem+json"
                assert (await answer.json())["detail"].startswith("cannot ")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/agents/nobody/history", 404),
        ("/api/agents/Bad_Name/history", 400),
        ("/api/agents/coder%0a/history", 400),
        ("/api/agents/coder/history?limit=9999", 400),
        ("/api/agents/coder/history?before=-1", 400),
        ("/api/agents/coder/history?before=1%C2%B2", 400),
        ("/api/agents/coder/log?lines=5001", 400),
        ("/api/live?after=x", 400),
        ("/api/live?agent=nobody", 404),
        ("/static/../server.py", 404),
        ("/static/%2e%2e/server.py", 404),
        ("/static/nothing.js", 404),
        ("/api/nothing", 404),
    ],
)
def test_bad_reads_are_refused_with_a_problem(tmp_path: Path, path: str, status: int) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            await hive.agent("coder")
            found, body, headers = await browser.get(path)
            assert (found, headers["Content-Type"].partition(";")[0]) == (
                status, "application/problem+json",
            )  # fmt: skip
            assert json.loads(body)["detail"].startswith("cannot ")

    asyncio.run(story())


@pytest.mark.parametrize(
    # A connection of the daemon's own that broke is a bug too, and no browser that left.
    ("verb", "raised"),
    [("bug", ZeroDivisionError), ("reset", ConnectionResetError)],
)
def test_a_bug_answers_with_a_reference_and_nothing_else(
    tmp_path: Path, verb: str, raised: type[Exception]
) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            status, body = await browser.post(f"/api/actions/{verb}", {})
            assert status == 500
            assert "secret detail" not in body["detail"]
            [(event, fields)] = hive.bugs.seen
            assert event == "page_request_failed"
            assert fields["reference"] in body["detail"]
            assert isinstance(fields["exc_info"], raised)

    asyncio.run(story())


def test_a_busy_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            hive = Hive(tmp_path, ManualClock(), port)
            with pytest.raises(errors.HiveError, match=rf"port {port}.*--port") as caught:
                await hive.page.start()
            assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
            await hive.store.close()

    asyncio.run(story())


def test_history_pages_back_and_says_where_to_follow_from(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            for n in range(5):
                await hive.show("coder", "text", {"text": str(n)})
            _, body, _ = await browser.get("/api/agents/coder/history?limit=2")
            newest = json.loads(body)
            assert [e["data"]["text"] for e in newest["events"]] == ["3", "4"]
            assert (newest["number"], newest["more"]) == (5, True)
            _, body, _ = await browser.get("/api/agents/coder/history?before=4&limit=10")
            older = json.loads(body)
            assert [e["data"]["text"] for e in older["events"]] == ["0", "1", "2"]
            assert older["more"] is False

    asyncio.run(story())


def test_the_log_is_read_through_the_action_layer(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            row = await hive.agent("coder")
            _, body, _ = await browser.get("/api/agents/coder/log?lines=2")
            assert json.loads(body)["lines"][1] == f"harness: this is {row.id}.log"

    asyncio.run(story())
