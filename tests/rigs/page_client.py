"""A client of the page, and the short way to one that is signed in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from hyperhive.adapters.clock.manual import ManualClock
from rigs.page import Hive, running

WRITE = {"X-Hive": "page", "Sec-Fetch-Site": "same-origin"}


@dataclasses.dataclass
class Browser:
    """One client of the page, signed in or not."""

    http: aiohttp.ClientSession
    url: str

    @property
    def origin(self) -> dict[str, str]:
        return {**WRITE, "Origin": self.url}

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        async with self.http.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        chosen = self.origin if headers is None else headers
        async with self.http.post(self.url + path, json=body, headers=chosen) as answer:
            return answer.status, await answer.json()

    async def sign_in(self, link: str) -> int:
        status, _ = await self.post("/api/sign-in", {"token": link.partition("#")[2]})
        return status


@contextlib.asynccontextmanager
async def visited(
    home: Path, *, signed_in: bool = True
) -> AsyncIterator[tuple[Hive, Browser, ManualClock]]:
    clock = ManualClock()
    jar = aiohttp.CookieJar(unsafe=True)
    async with running(home, clock) as (hive, url), aiohttp.ClientSession(cookie_jar=jar) as http:
        browser = Browser(http, url)
        if signed_in:
            assert await browser.sign_in(hive.page.sign_in_link()) == 200
        yield hive, browser, clock


def at(path: str) -> str:
    """A route's path with something in its gaps."""
    return (
        path.replace("{agent}", "coder").replace("{action}", "send").replace("{name:.+}", "app.js")
    )


async def read_event(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The next event of a stream as its fields; pings are left out."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if not line and fields:
            return fields
        name, colon, value = line.partition(": ")
        if colon and name:
            fields[name] = value
    return fields
