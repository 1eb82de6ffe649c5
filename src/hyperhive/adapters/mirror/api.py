"""The few calls of the Forgejo API that the mirror makes, and what their failures mean.

Rule: only status and typed fields decide, never ``message``. No redirect is followed, no proxy
of the environment is used, an answer has a size and a time, and a 404 counts as "absent" only
when it is the API that says so. API level: Forgejo 7 to 14 (Gitea 1.22).
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import email.utils
import json
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn, cast

import aiohttp

from hyperhive import ports
from hyperhive.adapters.mirror import redact
from hyperhive.adapters.mirror.place import Place

ANSWER_LIMIT: Final = 1024 * 1024
RETRY_MAX: Final = 3600.0
"""Seconds; a forge cannot ask for a longer pause than this."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A status that the caller said it can use, with its JSON."""

    status: int
    body: Any
    location: str = ""

    def truth(self, key: str) -> bool | None:
        """The boolean of that name in an object; None when there is none."""
        value = self._value(key)
        return value if isinstance(value, bool) else None

    def word(self, key: str) -> str:
        """The text of that name in an object; empty when there is none."""
        value = self._value(key)
        return value if isinstance(value, str) else ""

    def _value(self, key: str) -> object:
        if not isinstance(self.body, dict):
            return None
        return cast(dict[str, object], self.body).get(key)


class Api:
    """Calls to one forge with one token, for as long as one piece of work takes."""

    def __init__(self, place: Place, token: str, clock: ports.Clock, seconds: float) -> None:
        self._place = place
        self._token = token
        self._clock = clock
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "hyperhive",
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        usable: Collection[int],
        body: Mapping[str, object] | None = None,
    ) -> Answer:
        """Ask and return an answer whose status is *usable*; `MirrorError` for all else."""
        assert self._session is not None
        doing = f"cannot {method} {path} on {self._place.base}"
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.request(
                    method,
                    f"{self._place.base}/api/v1{path}",
                    json=body,
                    headers={"Authorization": f"token {self._token}"},
                    allow_redirects=False,
                ) as response,
            ):
                raw = await _read(response)
                headers = response.headers
                status = response.status
        except TimeoutError as error:
            raise ports.MirrorError(
                ports.Fault.SLOW, f"{doing}: no answer within {self._seconds:g} s"
            ) from error
        except aiohttp.ClientPayloadError as error:
            raise ports.MirrorError(
                ports.Fault.GARBLED, f"{doing}: the answer ended before its end"
            ) from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise ports.MirrorError(
                ports.Fault.UNREACHABLE, f"{doing}: {self._said(error)}"
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ports.MirrorError(
                ports.Fault.GARBLED, f"{doing}: what answers does not speak HTTP as it should"
            ) from error
        if status not in usable:
            self._refuse(doing, status, raw, headers)
        return Answer(status, _parse(doing, status, raw), headers.get("Location", ""))

    def _refuse(self, doing: str, status: int, raw: bytes, headers: Mapping[str, str]) -> NoReturn:
        wait = self._retry_after(headers.get("Retry-After", ""))
        if status == 401:
            raise ports.MirrorError(
                ports.Fault.UNAUTHORISED,
                f"{doing}: the token is not taken (401); set a new one with: hive forge set-token",
            )
        if status == 403:
            raise ports.MirrorError(
                ports.Fault.FORBIDDEN,
                f"{doing}: forbidden (403: {self._message(raw)}); the token needs the scopes "
                "write:organization and write:repository, and its account the right to do this",
            )
        if status == 429:
            raise ports.MirrorError(ports.Fault.BUSY, f"{doing}: too many requests (429)", wait)
        if status >= 500:
            raise ports.MirrorError(ports.Fault.FAILING, f"{doing}: it answered {status}", wait)
        if 300 <= status < 400:
            raise ports.MirrorError(
                ports.Fault.MOVED,
                f"{doing}: it sends us elsewhere ({status}), and we do not follow; set forge_url "
                "to the address that the forge itself uses",
            )
        raise ports.MirrorError(
            ports.Fault.REFUSED, f"{doing}: it answered {status}: {self._message(raw)}"
        )

    def _retry_after(self, text: str) -> float | None:
        """Seconds from ``Retry-After``, a number or a date (RFC 9110, 10.2.3)."""
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), RETRY_MAX)
        try:
            at = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=datetime.UTC)
        return min(max((at - self._clock.now()).total_seconds(), 0.0), RETRY_MAX)

    def _message(self, raw: bytes) -> str:
        """What the forge says about it, for people."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return "no reason given"
        said = cast(dict[str, object], body).get("message") if isinstance(body, dict) else None
        return self._said(said) if isinstance(said, str) and said else "no reason given"

    def _said(self, what: object) -> str:
        return redact.redact(str(what), self._token)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise ValueError("too long")
    return bytes(body)


def _parse(doing: str, status: int, raw: bytes) -> Any:
    if status == 307:
        # Answered by the router, as a page for people.
        return None
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ports.MirrorError(
            ports.Fault.GARBLED,
            f"{doing}: the answer ({status}) is not JSON; is there a Forgejo at this address?",
        ) from error
    if not isinstance(body, dict | list):
        raise ports.MirrorError(ports.Fault.GARBLED, f"{doing}: the answer ({status}) is no object")
    return body
