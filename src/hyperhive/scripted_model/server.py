"""The HTTP side of the scripted model: routes, streaming, faults, a log of requests.

The server obeys the reply of its brain and adds nothing of its own but the key
check and the answer to what is not JSON. It listens on loopback.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, cast

from aiohttp import hdrs, web

from hyperhive.scripted_model import brain, speech

BODY_MAX: Final = 64 * 1024 * 1024
THINKING_PACES: Final = 12
LOG_SIZE: Final = 1000
PLACES_KEPT: Final = 4096
_SECRET_HEADERS: Final = frozenset({"x-api-key", "authorization", "cookie"})


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: Mapping[str, Any] = dataclasses.field(repr=False)
    answer: str
    """What it got: ``message``, or the status of an error."""


class ScriptedModel:
    """A Messages API on loopback whose every answer comes from a brain.

    *pace* is the time in seconds between two chunks of a stream. With
    *require_key*, requests must carry it as ``x-api-key`` or bearer token, else
    they get 401. ``requests`` holds the newest requests, credentials replaced by
    ``<hidden>`` unless *show_secrets*.
    """

    def __init__(
        self,
        brain_function: brain.Brain,
        *,
        pace: float = 0.0,
        require_key: str | None = None,
        show_secrets: bool = False,
    ) -> None:
        self.brain = brain_function
        self.pace = pace
        self.require_key = require_key
        self.url = ""
        self._show_secrets = show_secrets
        self._log: collections.deque[Recorded] = collections.deque(maxlen=LOG_SIZE)
        self._attempts: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._runner: web.AppRunner | None = None

    @property
    def requests(self) -> list[Recorded]:
        """The newest requests for a message, oldest first."""
        return list(self._log)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen and return the base URL; OSError when the port is taken."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/api/hello", self._hello)
        app.router.add_route(hdrs.METH_ANY, "/{path:.*}", self._unknown)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        bound = cast("tuple[Any, ...]", runner.addresses[0])
        shown = f"[{bound[0]}]" if ":" in str(bound[0]) else str(bound[0])
        self.url = f"http://{shown}:{bound[1]}"
        return self.url

    async def stop(self) -> None:
        """End all streams and stop listening; harmless when not started."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    # --- routes -------------------------------------------------------------------------

    async def _hello(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "hello"})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        refused = self._check_key(request)
        if refused is not None:
            return _error(refused)
        model = {"type": "model", "id": "scripted", "display_name": "Scripted model"}
        return web.json_response({"data": [model], "has_more": False})

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return _error(brain.Fail(404, f"Not found: {request.method} {request.path}"))

    async def _count(self, request: web.Request) -> web.StreamResponse:
        body, refused = await self._read(request)
        if refused is not None:
            return _error(refused)
        return web.json_response({"input_tokens": speech.estimate(body)})

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body, refused = await self._read(request)
        if refused is not None:
            self._record(request, body, str(refused.status))
            return _error(refused)
        asked = brain.Request(body)
        asked = dataclasses.replace(asked, attempt=self._count_attempt(asked.place))
        reply = self.brain(asked)
        failure = next((block for block in reply if isinstance(block, brain.Fail)), None)
        self._record(request, body, str(failure.status) if failure else "message")
        for block in reply:
            if isinstance(block, brain.Wait):
                await asyncio.sleep(block.seconds)
        if failure is not None:
            return _error(failure)
        message = speech.compose(asked, reply)
        if body.get("stream"):
            return await self._stream(request, message, reply)
        return await self._answer(request, message, reply)

    # --- answers ------------------------------------------------------------------------

    async def _stream(
        self, request: web.Request, message: speech.Message, reply: brain.Reply
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"request-id": speech.request_id()})
        response.content_type = "text/event-stream"
        response.headers["cache-control"] = "no-cache"
        await response.prepare(request)
        pace = next((b.seconds for b in reply if isinstance(b, brain.Slow)), self.pace)
        # A model thinks before its first word.
        await asyncio.sleep(pace * THINKING_PACES)
        faults = [b for b in reply if isinstance(b, brain.Cut | brain.Snap | brain.Stall)]
        said = 0
        for event, data, size in message.events():
            for fault in [one for one in faults if event != "ping" and said >= one.after]:
                if event == "message_start":
                    continue
                faults.remove(fault)
                if isinstance(fault, brain.Stall):
                    await asyncio.sleep(fault.seconds)
                elif isinstance(fault, brain.Snap):
                    error = {"type": fault.kind, "message": fault.message}
                    await response.write(speech.encode("error", {"error": error}))
                    return response
                else:
                    _drop(request)
                    return response
            if pace and size:
                await asyncio.sleep(pace)
            await response.write(speech.encode(event, data))
            said += size
        if faults and any(isinstance(fault, brain.Cut) for fault in faults):
            _drop(request)
        return response

    async def _answer(
        self, request: web.Request, message: speech.Message, reply: brain.Reply
    ) -> web.StreamResponse:
        text = json.dumps(message.whole()).encode()
        for fault in reply:
            if isinstance(fault, brain.Snap):
                return _error(brain.Fail(529, fault.message, fault.kind))
            if isinstance(fault, brain.Stall):
                await asyncio.sleep(fault.seconds)
            if isinstance(fault, brain.Cut):
                response = web.StreamResponse(headers={"content-length": str(len(text))})
                response.content_type = "application/json"
                await response.prepare(request)
                await response.write(text[: len(text) // 2])
                _drop(request)
                return response
        return web.Response(
            body=text,
            content_type="application/json",
            headers={"request-id": speech.request_id()},
        )

    # --- checks and bookkeeping ---------------------------------------------------------

    async def _read(self, request: web.Request) -> tuple[dict[str, Any], brain.Fail | None]:
        refused = self._check_key(request)
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return {}, brain.Fail(413)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return {}, refused or brain.Fail(400, f"The body is not JSON: {error}")
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return {}, refused or brain.Fail(400, "messages: Field required")
        return body, refused

    def _check_key(self, request: web.Request) -> brain.Fail | None:
        if self.require_key is None:
            return None
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        for given in (request.headers.get("x-api-key", ""), bearer):
            if hmac.compare_digest(given.encode(), self.require_key.encode()):
                return None
        return brain.Fail(401)

    def _count_attempt(self, place: str) -> int:
        attempt = self._attempts.pop(place, 0)
        self._attempts[place] = attempt + 1
        while len(self._attempts) > PLACES_KEPT:
            self._attempts.popitem(last=False)
        return attempt

    def _record(self, request: web.Request, body: Mapping[str, Any], answer: str) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not self._show_secrets:
            for name in _SECRET_HEADERS & headers.keys():
                headers[name] = "<hidden>"
        self._log.append(Recorded(request.method, request.path, headers, body, answer))


def _error(failure: brain.Fail) -> web.Response:
    return web.json_response(
        speech.problem(failure.status, failure.message, failure.kind),
        status=failure.status,
        headers={"request-id": speech.request_id(), **failure.headers},
    )


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        # close, not abort: what was said before the cut still arrives.
        request.transport.close()
