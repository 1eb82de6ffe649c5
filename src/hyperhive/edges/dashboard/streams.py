"""The live stream of one page: facts, the terminal of one agent, the log of one build.

One connection on purpose: a browser opens at most six to one host, so a page
with two would starve the fourth window. Its event id is ``FACT-TERMINAL``: the
numbers up to which this reader has seen both, so a reconnect continues exactly
there. The log of a build begins anew with each connection. A reader that does
not take its data within five seconds is dropped; nothing is buffered for it, the
tables are the buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import aiohttp_sse
from aiohttp import web

from hyperhive import ports
from hyperhive.domain import access, errors, ids
from hyperhive.edges import live_view
from hyperhive.edges.dashboard import contracts, sessions

STREAMS_MAX: Final = 8
"""Open streams of one session."""
PING_SECONDS: Final = 25.0
SEND_SECONDS: Final = 5.0
RECHECK_SECONDS: Final = 60.0
"""A stream looks at least this often whether its session still lasts."""
TERMINAL_BATCH: Final = 2000
FACTS_BEHIND_MAX: Final = 2000
BUILD_LINES: Final = 2000
CALLER: Final = access.operator("page")
STREAMING: Final = web.RequestKey("hive-streaming", bool)
"""Set on a request once its stream has begun: no other answer is possible then."""
_ID: Final = re.compile(r"(\d{1,18})-(\d{1,18})")


class Position:
    """How far one reader has come."""

    def __init__(self, fact: int, terminal: int) -> None:
        self.fact = fact
        self.terminal = terminal

    @property
    def event_id(self) -> str:
        """What the browser sends back as Last-Event-ID."""
        return f"{self.fact}-{self.terminal}"


def parse_position(last_event_id: str | None, after: int, terminal: int) -> Position:
    """Where to go on: the id of the last event seen, else what the address says."""
    if last_event_id:
        match = _ID.fullmatch(last_event_id)
        if match is None:
            raise errors.invalid("cannot stream: Last-Event-ID is not one of ours")
        return Position(int(match[1]), int(match[2]))
    return Position(after, terminal)


class Streams:
    """Serves live streams and can end them: one session's, or all."""

    def __init__(
        self,
        store: ports.Store,
        overview: contracts.Overview,
        actions: contracts.Actions,
        live_log: ports.LiveLog,
        known: sessions.Sessions,
        clock: ports.Clock,
    ) -> None:
        self._clock = clock
        self._store = store
        self._overview = overview
        self._actions = actions
        self._live_log = live_log
        self._sessions = known
        self._open: dict[asyncio.Task[Any], str] = {}
        self._closing = False

    async def serve(
        self,
        request: web.Request,
        session: sessions.Session,
        position: Position,
        agent: ids.AgentId | None,
        build: int | None = None,
    ) -> web.StreamResponse:
        """Stream until the browser leaves, the session ends or the daemon closes."""
        with self._admitted(session) as task:
            async with aiohttp_sse.sse_response(
                request, sep="\n", send_timeout=SEND_SECONDS, ping_interval=PING_SECONDS
            ) as response:
                request[STREAMING] = True
                try:
                    await self._follow(response, session, position, agent, build)
                except asyncio.CancelledError:
                    if self._closing or not self._sessions.is_valid(session):
                        task.uncancel()
                    else:
                        raise
                if not self._sessions.is_valid(session):
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        await response.send("{}", event="signed-out")
            return response

    def end_for(self, key: str | None) -> None:
        """End the streams of one session, or of all when *key* is None."""
        for task, owner in self._open.items():
            if key is None or owner == key:
                task.cancel()

    async def close(self) -> None:
        """End every stream and admit no more."""
        self._closing = True
        tasks = list(self._open)
        self.end_for(None)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    @contextlib.contextmanager
    def _admitted(self, session: sessions.Session) -> Iterator[asyncio.Task[Any]]:
        if self._closing:
            raise errors.unavailable("cannot stream: the daemon is stopping")
        mine = sum(1 for owner in self._open.values() if owner == session.key)
        if mine >= STREAMS_MAX:
            raise errors.unavailable(
                f"cannot stream: {mine} live pages of this sign-in are open; close one"
            )
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = session.key
        try:
            yield task
        finally:
            del self._open[task]

    async def _follow(
        self,
        response: aiohttp_sse.EventSourceResponse,
        session: sessions.Session,
        position: Position,
        agent: ids.AgentId | None,
        build: int | None,
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._watch_session(session)),
                    group.create_task(self._send_facts(response, position)),
                ]
                if agent is not None:
                    terminal = self._send_terminal(response, position, agent)
                    tasks.append(group.create_task(terminal))
                if build is not None:
                    tasks.append(group.create_task(self._send_build(response, position, build)))
                # Waited for here and not by leaving the group: Python before 3.13 forgets to take
                # back the cancellation of a task whose group fails while it is being left.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* (ConnectionError, TimeoutError, errors.HiveError):
            # The browser left or did not take its data in time, or the store refuses. The
            # browser asks again and then hears the reason.
            pass

    async def _watch_session(self, session: sessions.Session) -> None:
        while self._sessions.is_valid(session):
            left = (session.expires_at - self._clock.now()).total_seconds()
            await self._clock.sleep(min(RECHECK_SECONDS, max(left, 0.1)))

    async def _send_facts(
        self, response: aiohttp_sse.EventSourceResponse, position: Position
    ) -> None:
        while True:
            if not 0 <= self._store.number() - position.fact <= FACTS_BEHIND_MAX:
                # Too far behind to be told each change, or ahead of a store that was put
                # back to an earlier day: the page loads the whole picture again.
                await response.send("{}", event="resync")
                return
            update = await self._overview.updates_after(position.fact)
            if update is None:
                await self._overview.wait(position.fact)
            else:
                position.fact = update["number"]
                await response.send(encode(update), event="facts", id=position.event_id)

    async def _send_terminal(
        self, response: aiohttp_sse.EventSourceResponse, position: Position, agent: ids.AgentId
    ) -> None:
        while True:
            rows = await self._live_log.read(agent, after=position.terminal, limit=TERMINAL_BATCH)
            if rows:
                position.terminal = rows[-1].number
                body = {"events": [live_view.live_event_view(row) for row in rows]}
                await response.send(encode(body), event="terminal", id=position.event_id)
            else:
                await self._live_log.changed(agent, position.terminal)

    async def _send_build(
        self, response: aiohttp_sse.EventSourceResponse, position: Position, build: int
    ) -> None:
        """The log of one build; the stream goes on when that has ended."""
        given = {"id": build, "lines": BUILD_LINES, "follow": True}
        first = True
        try:
            async for part in self._actions.stream(CALLER, "build-log", given):
                body = {"id": build, "first": first, **part}
                await response.send(encode(body), event="build", id=position.event_id)
                first = False
        except errors.HiveError as error:
            body = {"id": build, "first": first, "lines": [error.message], "ended": True}
            await response.send(encode(body), event="build", id=position.event_id)
        await asyncio.Event().wait()


def encode(body: Any) -> str:
    """JSON on one line in ASCII: no byte of an agent's text can end an event or a line."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True)
