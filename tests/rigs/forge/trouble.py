"""What a forge can do wrong, on order."""

from __future__ import annotations

import asyncio
import dataclasses
import enum

from aiohttp import web


class Stage(enum.Enum):
    """The part of a mirror's work that a request belongs to."""

    API = "api"
    REFS = "refs"
    """git asks for the advertisement (``info/refs``)."""
    FETCH = "fetch"
    PUSH = "push"
    """git sends its pack (``git-receive-pack``)."""


class Kind(enum.Enum):
    STATUS = "status"
    HTML = "html"
    """502 with a page, as a proxy does."""
    LOGIN_PAGE = "login page"
    """200 with a page."""
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    """Bytes that are no HTTP."""
    ENDLESS = "endless"
    RESET = "reset"
    HANG = "hang"
    REDIRECT = "redirect"
    LOST = "lost"
    """It is done, and the answer does not arrive."""


@dataclasses.dataclass
class Trouble:
    kind: Kind
    stages: frozenset[Stage] = frozenset(Stage)
    method: str = ""
    path: str = ""
    """Only requests whose path contains this."""
    status: int = 500
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    location: str = ""
    """Of a redirect: scheme, host and port of where to."""
    after: int = 0
    """How many matching requests are answered well before."""
    times: int = 1_000_000

    def takes(self, stage: Stage, method: str, path: str) -> bool:
        """Whether this request is one to spoil; counts it."""
        if (
            stage not in self.stages
            or self.method not in ("", method)
            or self.path not in path
            or self.times == 0
        ):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Do the wrong thing."""
        await request.read()
        transport = request.transport
        assert transport is not None
        if self.kind is Kind.STATUS:
            body = {"message": "trouble on order", "url": "http://forge/api/swagger"}
            return web.json_response(body, status=self.status, headers=self.headers)
        if self.kind is Kind.HTML:
            text = "<html><body><h1>502 Bad Gateway</h1></body></html>"
            return web.Response(status=502, text=text, content_type="text/html")
        if self.kind is Kind.LOGIN_PAGE:
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        if self.kind is Kind.REDIRECT:
            return web.Response(
                status=self.status, headers={"Location": self.location + str(request.rel_url)}
            )
        if self.kind is Kind.TRUNCATED:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
            transport.write(head + b'\r\n{"private": true, "arch')  # type: ignore[attr-defined]
            transport.close()
        elif self.kind is Kind.GARBAGE:
            transport.write(b"\x00\x01\x02 hello\r\n\r\n")  # type: ignore[attr-defined]
            transport.close()
        elif self.kind in (Kind.RESET, Kind.LOST):
            transport.abort()  # type: ignore[attr-defined]
        elif self.kind is Kind.HANG:
            await asyncio.sleep(3600)
        elif self.kind is Kind.ENDLESS:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b" " * 65536)
        return web.Response()
