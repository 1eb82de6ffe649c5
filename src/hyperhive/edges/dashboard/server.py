"""The web server of the page: guard, sign-in and errors around the one route table."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from hyperhive import ports, settings
from hyperhive.domain import errors
from hyperhive.edges import http_log
from hyperhive.edges.dashboard import assets, contracts, guard, routes, sessions, streams
from hyperhive.services import scraping
from hyperhive.wire import problems

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """Serves the operator's page on loopback.

    Behind the sign-in stands everything the operator may do, so there is no mode
    without it and no address but loopback.
    """

    def __init__(
        self,
        *,
        actions: contracts.Actions,
        overview: contracts.Overview,
        live_log: ports.LiveLog,
        scraping: scraping.Scraping,
        store: ports.Store,
        clock: ports.Clock,
        settings: settings.Settings,
        log: contracts.Log,
    ) -> None:
        self._settings = settings
        self._log = log
        self._sessions = sessions.Sessions(store, clock, settings.session_seconds)
        self._streams = streams.Streams(store, overview, actions, live_log, self._sessions, clock)
        self._parts = routes.Parts(
            actions=actions,
            overview=overview,
            live_log=live_log,
            scraping=scraping,
            store=store,
            sessions=self._sessions,
            streams=self._streams,
            files=assets.load(),
        )
        self._runner: web.AppRunner | None = None
        self._guard = guard.Guard(settings.port)
        self._url = ""

    async def start(self) -> str:
        """Listen and return the page's address, e.g. ``http://127.0.0.1:7000``.

        `HiveError` UNAVAILABLE when the port is taken or not ours to take.
        """
        await self._sessions.load()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=http_log.LOGGER,
            handler_cancellation=True,
            shutdown_timeout=0.5,
        )
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(runner, host, port, reuse_address=True).start()
        except OSError as error:
            await runner.cleanup()
            raise _cannot_listen(host, port, error) from error
        self._runner = runner
        port = runner.addresses[0][1]
        self._guard = guard.Guard(port)
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self._url

    async def close(self) -> None:
        """Stop within two seconds: first the live streams, then the rest."""
        await self._streams.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def sign_in_link(self) -> str:
        """A new one-time address that signs one browser in; good for ten minutes."""
        return f"{self._url}/sign-in#{self._sessions.new_link_secret()}"

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=[self._boundary, self._admit], client_max_size=routes.BODY_MAX
        )
        for route in routes.TABLE:
            app.router.add_route(route.method, route.path, self._serve(route))
        app.on_response_prepare.append(_harden)
        return app

    def _serve(self, route: routes.Route) -> Serve:
        async def serve(request: web.Request) -> web.StreamResponse:
            session = self._session_of(request)
            if session is None and route.needs is routes.Needs.SCRAPE:
                return await self._scrape(route, request)
            if session is None and route.needs is not routes.Needs.NOTHING:
                if route.needs is routes.Needs.PAGE:
                    return routes.file_response(self._parts, "sign-in.html", status=401)
                return _problem(
                    401,
                    "not signed in",
                    "cannot do this: you are not signed in; run `hive login` on the host and "
                    "open the link that it prints",
                )
            return await route.serve(routes.Visit(request, self._parts, session))

        return serve

    async def _scrape(self, route: routes.Route, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and await self._parts.scraping.admits(token.strip()):
            return await route.serve(routes.Visit(request, self._parts, None))
        refused = _problem(
            401,
            "not signed in",
            "cannot show the metrics: neither a session nor the metrics token was given; make one "
            "with `hive metrics-token`",
        )
        refused.headers["WWW-Authenticate"] = 'Bearer realm="hive metrics"'
        return refused

    def _session_of(self, request: web.Request) -> sessions.Session | None:
        values = guard.cookie_values(request.raw_headers, self._sessions.cookie_name)
        return self._sessions.find(values[0]) if len(values) == 1 else None

    @web.middleware
    async def _admit(self, request: web.Request, handler: Serve) -> web.StreamResponse:
        path = request.path
        navigable = path in ("/", "/sign-in", "/configuration", "/statistics") or path.startswith(
            ("/agents/", "/configuration/")
        )
        self._guard.check(request.method, request.raw_headers, navigable=navigable)
        return await handler(request)

    @web.middleware
    async def _boundary(self, request: web.Request, handler: Serve) -> web.StreamResponse:
        try:
            return await handler(request)
        except errors.HiveError as error:
            body = problems.problem(error)
            return _problem(body["status"], body["title"], error.message, error.kind.value)
        except web.HTTPException as error:
            detail = f"cannot answer {request.method} here: {error.reason}"
            return _problem(error.status, error.reason.lower(), detail)
        except Exception as error:
            if request.get(streams.STREAMING):
                # The answer has begun; aiohttp logs the error and drops the connection.
                raise
            gone = request.transport is None or request.transport.is_closing()
            if isinstance(error, ConnectionError) and gone:
                raise  # The browser left; there is nobody to answer.
            reference = secrets.token_hex(4)
            self._log.error(
                "page_request_failed",
                reference=reference,
                method=request.method,
                route=str(request.match_info.route.resource),
                exc_info=error,
            )
            return _problem(
                500,
                "bug",
                f"cannot do this: a bug in hyperhive; the daemon's log has it under {reference}",
                "bug",
            )


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in guard.SECURITY_HEADERS.items():
        response.headers[name] = value


def _problem(status: int, title: str, detail: str, kind: str = "invalid") -> web.Response:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "kind": kind,
    }
    return web.Response(
        text=streams.encode(body), status=status, content_type="application/problem+json"
    )


def _cannot_listen(host: str, port: int, error: OSError) -> errors.HiveError:
    if error.errno == errno.EADDRINUSE:
        reason = "another program has it; stop that one, or choose another with `--port`"
    elif error.errno == errno.EACCES:
        reason = "ports below 1024 are the system's; choose another with `--port`"
    else:
        reason = f"{error.strerror}; choose another with `--port` (0 takes a free one)"
    return errors.unavailable(f"cannot listen on {host} port {port}: {reason}")
