"""Carries model requests from sandboxes to the upstream, as they come and as they go.

The agent is known by the listener that accepted the connection. Nothing that it
sends as a credential goes out, nothing but the allowed paths and headers does,
and the upstream's credential never comes in. There is no timer when idle.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import aiohttp
import yarl
from aiohttp import web

from hyperhive.domain import errors, ids, turns
from hyperhive.edges import http_log
from hyperhive.edges.gateway import upstream as upstreams
from hyperhive.edges.gateway import usage, way_out

BODY_MAX: Final = 64 * 1024 * 1024
"""Bytes of one request body; the API itself takes 32 MB."""
REQUESTS_MAX: Final = 64
"""Requests of one agent at a time."""
CONNECTIONS_MAX: Final = 128
"""Connections of one agent, idle ones included."""
CONNECT_SECONDS: Final = 30.0
SHUTDOWN_SECONDS: Final = 2.0
READ_SECONDS: Final = 900.0
"""Longest silence of the upstream in one answer (unstreamed answers take minutes)."""

_MESSAGES: Final = "/v1/messages"
_ROUTES: Final = (
    ("POST", re.compile(_MESSAGES)),
    ("POST", re.compile(r"/v1/messages/count_tokens")),
    ("GET", re.compile(r"/v1/models")),
    ("GET", re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9._:@-]*")),
)
# Not batches and files: they belong to the key, so one agent would read another's.

_OUT_NAMES: Final = frozenset({"accept", "content-type", "user-agent", "idempotency-key", "x-app"})
_OUT_PREFIXES: Final = ("anthropic-", "x-stainless-", "x-claude-")
_BACK_NAMES: Final = frozenset(
    {
        "content-type",
        "content-length",
        "content-encoding",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "request-id",
    }
)
_BACK_PREFIXES: Final = ("anthropic-ratelimit-",)

_NO_RETRY: Final = {"x-should-retry": "false"}
"""Heeded by the API's own clients, which would else try a refused key for minutes."""


class _Upload:
    """A request body on its way, as it arrives; stops at BODY_MAX.

    The client library wraps what is raised in here, so the reason is kept too.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self.too_large = False

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._content.iter_any():
            size += len(chunk)
            if size > BODY_MAX:
                self.too_large = True
                raise aiohttp.ClientPayloadError("the request is over the hive's limit")
            yield chunk


class _Refusal(asyncio.Protocol):
    """Ends a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


@dataclasses.dataclass(slots=True)
class _Door:
    """One agent's listener and what serves it."""

    listening: asyncio.Server
    server: web.Server
    requests: int = 0
    open: list[usage.UsageTap] = dataclasses.field(default_factory=list[usage.UsageTap])
    """Answers that nobody has charged yet."""


Used = tuple[str, turns.Usage]
"""The model that answered, and what it took."""


class Purse(Protocol):
    """What agents may spend: asked before each message request, told after each answer."""

    async def admit(self, agent: ids.AgentId, under_way: Sequence[Used]) -> None:
        """Return, or raise `HiveError` with the reason why the agent may ask for no more."""
        ...

    async def charge(self, agent: ids.AgentId, used: Used) -> None:
        """Count an answer. It is in line before the first await."""
        ...


class _Refused(Exception):
    """The purse lets this request not out."""


class _Bottomless:
    """Every agent may spend all that it wants."""

    async def admit(self, agent: ids.AgentId, under_way: Sequence[Used]) -> None:
        pass

    async def charge(self, agent: ids.AgentId, used: Used) -> None:
        pass


class Gateway:
    """The model gateway of a daemon.

    *upstream* is asked at every request, so that a new credential counts at
    once; None means that there is no credential yet. *on_usage* is called once
    for every answer that tells its tokens. *proxies* are the host's, for the way to the upstream.
    *purse* may refuse requests: without one there are no budgets.
    """

    def __init__(
        self,
        upstream: Callable[[], upstreams.Upstream | None],
        on_usage: Callable[[ids.AgentId, turns.Usage], None],
        proxies: way_out.HostProxies,
        purse: Purse | None = None,
    ) -> None:
        self._upstream = upstream
        self._on_usage = on_usage
        self._proxies = proxies
        self._purse: Purse = purse or _Bottomless()
        self._doors: dict[ids.AgentId, _Door] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready to send; listeners come with `serve`."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            ),
            # Bytes pass as they are; the tap asks for an answer that it can read.
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
        )

    async def serve(self, agent: ids.AgentId, listener: socket.socket) -> None:
        """Answer on *listener* as *agent* until `stop_serving`; the gateway owns the socket now.

        An agent has one listener: an earlier one is closed first.
        """
        await self.stop_serving(agent)
        server = web.Server(
            functools.partial(self._carry, agent),
            handler_cancellation=True,
            access_log=None,
            logger=http_log.LOGGER,
            keepalive_timeout=75.0,
            lingering_time=2.0,
        )

        def accept() -> asyncio.Protocol:
            crowded = len(server.connections) >= CONNECTIONS_MAX
            return _Refusal() if crowded else server()

        listening = await asyncio.get_running_loop().create_server(accept, sock=listener)
        self._doors[agent] = _Door(listening, server)

    async def stop_serving(self, agent: ids.AgentId) -> None:
        """Close the agent's listener and end its requests; harmless when there is none."""
        door = self._doors.pop(agent, None)
        if door is None:
            return
        door.listening.close()
        for connection in door.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await door.server.shutdown(timeout=SHUTDOWN_SECONDS)

    async def close(self) -> None:
        """Stop serving all agents and let go of the upstream."""
        for agent in list(self._doors):
            await self.stop_serving(agent)
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _carry(self, agent: ids.AgentId, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of *agent*."""
        path = request.rel_url.raw_path
        if not any(m == request.method and r.fullmatch(path) for m, r in _ROUTES):
            return _problem(
                404, "not_found_error", f"the hive's gateway does not carry {request.method} {path}"
            )
        upstream = self._upstream()
        if upstream is None:
            return _problem(
                401,
                "authentication_error",
                "no model credential: the operator has to give one on the hive's page",
            )
        if request.content_length is not None and request.content_length > BODY_MAX:
            return _too_large()
        door = self._doors.get(agent)
        if door is None or self._session is None:
            return _problem(529, "overloaded_error", "the hive's gateway is closing")
        if door.requests >= REQUESTS_MAX:
            return _problem(
                429,
                "rate_limit_error",
                f"this agent has {REQUESTS_MAX} requests under way; the hive allows no more",
            )
        door.requests += 1
        try:
            if path == _MESSAGES:
                await self._admit(agent, door)
            return await self._exchange(agent, door, request, upstream)
        except _Refused as refused:
            # The API's own shape for a spend limit. Its clients give up at once.
            return _problem(400, "invalid_request_error", str(refused))
        finally:
            door.requests -= 1

    async def _admit(self, agent: ids.AgentId, door: _Door) -> None:
        told = [(tap.model, used) for tap in door.open if (used := tap.told()) is not None]
        try:
            await self._purse.admit(agent, told)
        except errors.HiveError as error:
            raise _Refused(error.message) from error

    async def _exchange(
        self,
        agent: ids.AgentId,
        door: _Door,
        request: web.BaseRequest,
        upstream: upstreams.Upstream,
    ) -> web.StreamResponse:
        session = self._session
        assert session is not None
        target = upstream.base_url.rstrip("/") + request.rel_url.raw_path
        if request.rel_url.raw_query_string:
            target += "?" + request.rel_url.raw_query_string
        url = yarl.URL(target, encoded=True)
        proxy = way_out.choose(url, self._proxies)
        upload = _Upload(request.content)
        answer: web.StreamResponse | None = None
        tap: usage.UsageTap | None = None
        try:
            async with session.request(
                request.method,
                url,
                proxy=proxy,
                headers=_outgoing(request, upstream),
                data=upload.chunks() if request.can_read_body else None,
                # A redirect would carry the credential to a host that nobody chose.
                allow_redirects=False,
            ) as reply:
                if 300 <= reply.status < 400:
                    return _problem(
                        502, "api_error", f"{upstream.shown} answered with a redirect; not followed"
                    )
                answer = web.StreamResponse(status=reply.status, headers=_returning(reply))
                if request.rel_url.raw_path == _MESSAGES:
                    tap = usage.UsageTap(reply.content_type)
                    door.open.append(tap)
                await answer.prepare(request)
                async for chunk in reply.content.iter_any():
                    if tap is not None:
                        tap.feed(chunk)
                    await answer.write(chunk)
                await answer.write_eof()
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if answer is None or not answer.prepared:
                if upload.too_large:
                    return _too_large()
                return _problem(502, "api_error", _reason(upstream, proxy, error))
            # Too late for a status. An answer that ends without its end is seen as cut.
            if request.transport is not None:
                request.transport.close()
            return answer
        finally:
            if tap is not None:
                # What leaves the list is in line to be written before anything else happens.
                door.open.remove(tap)
                told = tap.finish()
                if told is not None:
                    self._on_usage(agent, told)
                    await self._purse.charge(agent, (tap.model, told))


def _outgoing(request: web.BaseRequest, upstream: upstreams.Upstream) -> dict[str, str]:
    """The headers for the upstream: allowed ones of the agent, then the credential."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        low = name.lower()
        if low in _OUT_NAMES or low.startswith(_OUT_PREFIXES):
            headers[low] = f"{headers[low]},{value}" if low in headers else value
    if request.content_length is not None and request.can_read_body:
        headers["content-length"] = str(request.content_length)
    # Else the tap could not read the answer.
    headers["accept-encoding"] = "identity"
    betas = [one.strip() for one in headers.get("anthropic-beta", "").split(",") if one.strip()]
    betas += [one for one in upstream.betas if one not in betas]
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    headers.update({name.lower(): value for name, value in upstream.headers.items()})
    return headers


def _returning(reply: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers for the agent: what its client needs and nothing of the upstream's own."""
    headers = {
        name.lower(): value
        for name, value in reply.headers.items()
        if name.lower() in _BACK_NAMES or name.lower().startswith(_BACK_PREFIXES)
    }
    if reply.status in (401, 403):
        headers.update(_NO_RETRY)
    return headers


def _reason(upstream: upstreams.Upstream, proxy: yarl.URL | None, error: Exception) -> str:
    """Why there is no answer; a proxy is named by its origin, because it may hold a password."""
    where = upstream.shown if proxy is None else f"{upstream.shown} through {proxy.origin()}"
    if isinstance(error, TimeoutError):
        why = "it did not answer in time"
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        why = f"the proxy answered {error.status}"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = "its name cannot be resolved"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = "its certificate is not valid"
    elif isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        why = os.strerror(number).lower() if number else "no connection"
    else:
        # The class only: texts of a client library may quote headers.
        why = f"the connection failed ({type(error).__name__})"
    return f"cannot reach the model API at {where}: {why}"


def _too_large() -> web.Response:
    return _problem(
        413, "request_too_large", f"the request is over {BODY_MAX} bytes, the hive's limit"
    )


def _problem(status: int, kind: str, message: str) -> web.Response:
    """An error in the shape of the Messages API, so that its clients understand it."""
    return web.json_response(
        {"type": "error", "error": {"type": kind, "message": message[:500]}},
        status=status,
        headers=_NO_RETRY if status in (400, 401, 404, 413) else None,
    )
