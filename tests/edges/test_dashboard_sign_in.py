"""Links, sessions and cookies."""

from __future__ import annotations

import asyncio
import dataclasses
import http.cookies
import json
import re
from pathlib import Path

import aiohttp
import pytest

from hyperhive.edges.dashboard import sessions
from rigs.page_client import Browser, read_event, visited


def test_a_link_signs_in_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, _):
            link = hive.page.sign_in_link()
            assert re.fullmatch(rf"{re.escape(browser.url)}/sign-in#[\w-]{{43}}", link)
            assert await browser.sign_in(link) == 200
            assert (await browser.get("/api/snapshot"))[0] == 200
            assert await browser.sign_in(link) == 403

    asyncio.run(story())


def test_a_link_ends_after_ten_minutes_and_a_session_after_twelve_hours(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, clock):
            link = hive.page.sign_in_link()
            clock.advance(sessions.LINK_SECONDS + 1)
            assert await browser.sign_in(link) == 403
            assert await browser.sign_in(hive.page.sign_in_link()) == 200
            clock.advance(12 * 3600 - 10)
            assert (await browser.get("/api/snapshot"))[0] == 200
            clock.advance(20)
            assert (await browser.get("/api/snapshot"))[0] == 401

    asyncio.run(story())


def test_the_cookie_is_out_of_reach_and_the_store_keeps_only_hashes(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, _):
            token = hive.page.sign_in_link().partition("#")[2]
            async with browser.http.post(
                browser.url + "/api/sign-in", json={"token": token}, headers=browser.origin
            ) as answer:
                header = answer.headers["Set-Cookie"]
            [(name, morsel)] = http.cookies.SimpleCookie(header).items()
            assert morsel["httponly"] and morsel["samesite"] == "Strict" and morsel["path"] == "/"
            assert not morsel["domain"]
            instance = await hive.store.read(lambda tx: tx.get_value("page:instance"))
            assert instance in name
            kept = json.dumps(await hive.store.read(lambda tx: tx.list_values("")))
            assert "session:" in kept
            assert morsel.value not in kept and token not in kept

    asyncio.run(story())


def test_a_sign_in_outlives_a_restart_of_the_daemon(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            await hive.page.close()
            port = int(browser.url.rpartition(":")[2])
            again = hive.new_page(dataclasses.replace(hive.settings, port=port))
            assert await again.start() == browser.url
            try:
                assert (await browser.get("/api/snapshot"))[0] == 200
            finally:
                await again.close()

    asyncio.run(story())


@pytest.mark.parametrize("everywhere", [False, True])
def test_signing_out_ends_the_session_here_or_everywhere(tmp_path: Path, everywhere: bool) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as http:
                phone = Browser(http, browser.url)
                assert await phone.sign_in(hive.page.sign_in_link()) == 200
                open_link = hive.page.sign_in_link()
                async with phone.http.get(f"{phone.url}/api/live?after=0") as stream:
                    assert (await read_event(stream))["event"] == "facts"
                    status, _ = await browser.post("/api/sign-out", {"everywhere": everywhere})
                    assert status == 200
                    if everywhere:
                        assert await read_event(stream) == {"event": "signed-out", "data": "{}"}
                assert (await browser.get("/api/snapshot"))[0] == 401
                assert (await phone.get("/api/snapshot"))[0] == (401 if everywhere else 200)
                assert await browser.sign_in(open_link) == (403 if everywhere else 200)

    asyncio.run(story())


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path, signed_in=False) as (hive, browser, clock):
            for _ in range(sessions.ATTEMPTS_MAX):
                assert await browser.sign_in("#guess") == 403
            assert await browser.sign_in("#guess") == 503
            clock.advance(sessions.ATTEMPTS_SECONDS + 1)
            assert await browser.sign_in(hive.page.sign_in_link()) == 200

    asyncio.run(story())


def test_a_cookie_set_beside_ours_by_another_port_is_not_believed(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (_, browser, _clock):
            [cookie] = list(browser.http.cookie_jar)
            both = f"{cookie.key}={cookie.value}; {cookie.key}=tossed"
            async with aiohttp.ClientSession() as http:
                other = Browser(http, browser.url)
                one = f"{cookie.key}={cookie.value}"
                assert (await other.get("/api/snapshot", Cookie=one))[0] == 200
                assert (await other.get("/api/snapshot", Cookie=both))[0] == 401

    asyncio.run(story())
