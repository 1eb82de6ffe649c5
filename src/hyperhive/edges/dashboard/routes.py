"""Every route of the page in one table, each with what it needs of its caller.

A route that is not in `TABLE` does not exist, and a route whose entry says
SESSION cannot be reached without one: the check stands in front of the table,
not inside the routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from hyperhive import ports
from hyperhive.domain import agents, errors, ids
from hyperhive.edges import live_view, strict_json
from hyperhive.edges.dashboard import assets, contracts, metrics, sessions, streams
from hyperhive.services import scraping
from hyperhive.services import statistics as statistics_service
from hyperhive.wire import statistics_csv

BODY_MAX: Final = 1024 * 1024
"""Bytes of one request body: a message of 256 KiB with every character escaped fits."""
HISTORY_MAX: Final = 2000
LOG_LINES_MAX: Final = 5000


class Needs(enum.Enum):
    """What a route asks of its caller."""

    NOTHING = "nothing"
    """Holds no data of the hive: program text, the way in."""
    PAGE = "page"
    """A page for people: without a session it answers 401 with the sign-in page."""
    SESSION = "session"
    SCRAPE = "scrape"
    """A session, or the token that may scrape and nothing else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """All that routes work with."""

    actions: contracts.Actions
    overview: contracts.Overview
    live_log: ports.LiveLog
    scraping: scraping.Scraping
    store: ports.Store
    sessions: sessions.Sessions
    streams: streams.Streams
    files: dict[str, assets.Asset]


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """One request with who makes it; ``session`` is None only where nothing is needed."""

    request: web.Request
    parts: Parts
    session: sessions.Session | None

    def signed_in(self) -> sessions.Session:
        """The session of a route that needs one."""
        assert self.session is not None
        return self.session


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One route: method, path as aiohttp writes it, need, and what serves it."""

    method: str
    path: str
    needs: Needs
    serve: Callable[[Visit], Awaitable[web.StreamResponse]]


CALLER: Final = streams.CALLER


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON response."""
    return web.Response(
        text=streams.encode(body), status=status, content_type="application/json", charset="utf-8"
    )


def file_response(parts: Parts, name: str, status: int = 200) -> web.Response:
    """One file of the page; `HiveError` NOT_FOUND when there is no such file."""
    asset = parts.files.get(name)
    if asset is None:
        raise errors.not_found("cannot show this: the page has no such file")
    return web.Response(
        body=asset.content, status=status, headers={"Content-Type": asset.content_type}
    )


async def read_params(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request body; `HiveError` INVALID when it is none or holds text
    that no store takes."""
    params = strict_json.decode_object(await request.read())
    found = strict_json.find_unstorable(params)
    if found is not None:
        raise errors.invalid(f"cannot read the request: its text has {found}")
    return params


def read_number(request: web.Request, name: str, default: int, most: int) -> int:
    """A query parameter between 0 and *most*; `HiveError` INVALID for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) > most:
        raise errors.invalid(f"cannot use {name}: it must be a number from 0 to {most}")
    return int(text)


async def find_agent(visit: Visit, name: str) -> agents.Agent:
    """The agent of that name; `HiveError` INVALID or NOT_FOUND."""
    parsed = ids.parse_agent_name(name, allow_manager=True)
    agent = await visit.parts.store.read(lambda tx: tx.find_agent(parsed))
    if agent is None:
        raise errors.not_found(f"cannot find agent {parsed}: there is none of that name")
    return agent


async def show_shell(visit: Visit) -> web.StreamResponse:
    """The one document of dashboard and agent page; it holds no data."""
    return file_response(visit.parts, "index.html")


async def show_sign_in(visit: Visit) -> web.StreamResponse:
    """The way in; the secret stays in the fragment, which browsers do not send."""
    return file_response(visit.parts, "sign-in.html")


async def show_file(visit: Visit) -> web.StreamResponse:
    """Program text and styles."""
    return file_response(visit.parts, visit.request.match_info["name"])


async def sign_in(visit: Visit) -> web.StreamResponse:
    """Exchange a link's secret for a session cookie."""
    params = await read_params(visit.request)
    token = params.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= 200:
        raise errors.invalid("cannot sign in: the link is incomplete; copy it again as a whole")
    known = visit.parts.sessions
    cookie = await known.exchange(token)
    response = answer({})
    response.set_cookie(
        known.cookie_name,
        cookie,
        max_age=int(known.seconds),
        path="/",
        httponly=True,
        samesite="Strict",
    )
    return response


async def sign_out(visit: Visit) -> web.StreamResponse:
    """End this browser's session, or with ``everywhere`` all of them."""
    params = await read_params(visit.request)
    known, session = visit.parts.sessions, visit.signed_in()
    everywhere = params.get("everywhere", False) is True
    with contextlib.ExitStack() as last:
        # Streams end even if the store refuses to forget the hash for good.
        last.callback(visit.parts.streams.end_for, None if everywhere else session.key)
        await (known.end_all() if everywhere else known.end(session))
    response = answer({})
    response.del_cookie(known.cookie_name, path="/")
    return response


async def show_snapshot(visit: Visit) -> web.StreamResponse:
    """The whole picture with the number that it is true at."""
    return answer(dict(await visit.parts.overview.snapshot()))


async def stream_live(visit: Visit) -> web.StreamResponse:
    """Facts after ``after``, with ``agent`` its terminal after ``terminal``, with ``build`` the
    log of that build."""
    request = visit.request
    position = streams.parse_position(
        request.headers.get("Last-Event-ID"),
        read_number(request, "after", 0, 10**18),
        read_number(request, "terminal", 0, 10**18),
    )
    name = request.query.get("agent")
    agent = None if name is None else (await find_agent(visit, name)).id
    build = read_number(request, "build", 0, 2**53) or None
    return await visit.parts.streams.serve(request, visit.signed_in(), position, agent, build)


async def show_history(visit: Visit) -> web.StreamResponse:
    """Terminal events of one agent before a number, and the number to follow from."""
    request = visit.request
    limit = max(1, read_number(request, "limit", HISTORY_MAX, HISTORY_MAX))
    before = read_number(request, "before", 0, 10**18) or None
    agent = await find_agent(visit, request.match_info["agent"])
    number = visit.parts.live_log.number(agent.id)
    rows = await visit.parts.live_log.read(agent.id, before=before, limit=limit)
    return answer(
        {
            "events": [live_view.live_event_view(row) for row in rows],
            "number": max([number, *(row.number for row in rows)]) if before is None else number,
            "more": len(rows) == limit,
        }
    )


async def show_log(visit: Visit) -> web.StreamResponse:
    """The last lines of what the agent's sandbox printed."""
    request = visit.request
    lines = read_number(request, "lines", 200, LOG_LINES_MAX)
    name = ids.parse_agent_name(request.match_info["agent"], allow_manager=True)
    params = {"name": name, "lines": lines, "follow": False}
    found = [item async for item in visit.parts.actions.stream(CALLER, "logs", params)]
    return answer({"lines": [str(item.get("line", "")) for item in found]})


async def show_metrics(visit: Visit) -> web.StreamResponse:
    """The figures for monitoring systems, in Prometheus' text format."""
    figures = await visit.parts.scraping.look()
    return web.Response(
        body=metrics.render(figures), headers={"Content-Type": metrics.CONTENT_TYPE}
    )


async def download_statistics(visit: Visit) -> web.StreamResponse:
    """The statistics of the last ``days`` as a file for spreadsheets."""
    days = max(1, read_number(visit.request, "days", 7, statistics_service.DAYS_MAX))
    view = await visit.parts.actions.call(CALLER, "stats", {"days": days})
    return web.Response(
        body=statistics_csv.write(view).encode(),
        headers={
            # header=present: RFC 4180.
            "Content-Type": "text/csv; charset=utf-8; header=present",
            "Content-Disposition": f'attachment; filename="hive-statistics-{days}d.csv"',
        },
    )


async def act(visit: Visit) -> web.StreamResponse:
    """Do one verb of the action layer as the operator."""
    params = await read_params(visit.request)
    name = visit.request.match_info["action"]
    # A browser that leaves cancels its request; a verb that has begun is done all the same.
    return answer(await asyncio.shield(visit.parts.actions.call(CALLER, name, params)))


TABLE: Final[tuple[Route, ...]] = (
    Route("GET", "/", Needs.PAGE, show_shell),
    Route("GET", "/agents/{agent}", Needs.PAGE, show_shell),
    Route("GET", "/configuration", Needs.PAGE, show_shell),
    Route("GET", "/configuration/{agent}", Needs.PAGE, show_shell),
    Route("GET", "/statistics", Needs.PAGE, show_shell),
    Route("GET", "/sign-in", Needs.NOTHING, show_sign_in),
    Route("GET", "/static/{name:.+}", Needs.NOTHING, show_file),
    Route("POST", "/api/sign-in", Needs.NOTHING, sign_in),
    Route("POST", "/api/sign-out", Needs.SESSION, sign_out),
    Route("GET", "/api/snapshot", Needs.SESSION, show_snapshot),
    Route("GET", "/api/live", Needs.SESSION, stream_live),
    Route("GET", "/api/agents/{agent}/history", Needs.SESSION, show_history),
    Route("GET", "/api/agents/{agent}/log", Needs.SESSION, show_log),
    Route("GET", "/api/statistics.csv", Needs.SESSION, download_statistics),
    Route("GET", "/metrics", Needs.SCRAPE, show_metrics),
    Route("POST", "/api/actions/{action}", Needs.SESSION, act),
)
