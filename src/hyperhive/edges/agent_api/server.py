"""One server for all agents: who calls is the socket that the call came in on.

Each agent has a listening socket in a directory that it can read and not write;
the kernel's word on the connecting uid is a second check, never a grant. What
the methods are is said in `wire.agent_protocol`; this edge only checks their
form and hands them to the services.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import pathlib
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import errors, ids
from hyperhive.edges import json_lines, params, strict_json, unix_socket
from hyperhive.edges.agent_api import calls, events, protocol, tools
from hyperhive.services import asking, fleet, messaging, proposing, reminding, review, turns
from hyperhive.wire import agent_protocol

SOCKET_NAME: Final = pathlib.PurePath(agent_protocol.SOCKET_IN_SANDBOX).name


class AgentApi:
    """The doors of all agents. Open one per agent; a closed door ends what waits behind it."""

    def __init__(
        self,
        *,
        turns: turns.Turns,
        messaging: messaging.Messaging,
        fleet: fleet.Fleet,
        review: review.Review,
        proposing: proposing.Proposing,
        asking: asking.Asking,
        reminding: reminding.Reminding,
        live_log: ports.LiveLog,
        log: json_lines.Log,
    ) -> None:
        self._turns = turns
        self._services = tools.Services(messaging, fleet, review, proposing, asking, reminding)
        self._live_log = live_log
        self._log = log
        self._doors: dict[ids.AgentId, tuple[json_lines.LineServer, AgentDoor]] = {}
        self._mcp = _Mcp()

    async def open(
        self, agent: ids.AgentId, directory: pathlib.Path, *, uid: int, gid: int
    ) -> None:
        """Listen for *agent* in *directory* (made when missing); open already is fine.

        `HiveError` UNAVAILABLE when the system refuses.
        """
        if agent in self._doors:
            return
        unix_socket.make_directory(directory, gid=gid)
        door = AgentDoor(
            agent, self._turns, self._services, self._live_log, self._log, self._mcp.load
        )
        server = json_lines.LineServer(
            door,
            self._log,
            limits=json_lines.Limits(),
            may_connect=lambda peer: peer.uid == uid,
        )
        self._doors[agent] = (server, door)
        try:
            await server.open(directory / SOCKET_NAME, gid=gid)
        except errors.HiveError:
            del self._doors[agent]
            raise

    async def close_agent(self, agent: ids.AgentId) -> None:
        """Stop listening for *agent*; what was parked for it ends. Closed already is fine."""
        self._services.allowances.forget(agent)
        server, door = self._doors.pop(agent, (None, None))
        if server is not None and door is not None:
            await server.close()
            await door.close()

    async def close(self) -> None:
        """Close every door."""
        for agent in list(self._doors):
            await self.close_agent(agent)

    async def prepare(self) -> None:
        """Load the MCP SDK now, on a thread, instead of at the first tool call."""
        await self._mcp.load()


class _Mcp:
    """Imports `mcp_server` when it is first wanted: it costs a second and 43 MB."""

    def __init__(self) -> None:
        self._module: ModuleType | None = None
        self._loading = asyncio.Lock()

    async def load(self) -> Any:
        if self._module is None:
            async with self._loading:
                # On a thread: the harnesses of all other agents are served meanwhile.
                self._module = await asyncio.to_thread(
                    importlib.import_module, "hyperhive.edges.agent_api.mcp_server"
                )
        return self._module


class AgentDoor:
    """Answers what comes in on one agent's socket (`json_lines.Service`)."""

    envelope: Mapping[str, Any] = {}

    def __init__(
        self,
        agent: ids.AgentId,
        turns: turns.Turns,
        services: tools.Services,
        live_log: ports.LiveLog,
        log: json_lines.Log,
        load_mcp: Callable[[], Awaitable[Any]],
    ) -> None:
        self._agent = agent
        self._turns = turns
        self._services = services
        self._log = log
        self._load_mcp = load_mcp
        self._calls = calls.Calls()
        self._intake = events.Intake(agent, live_log)
        self._methods: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "hello": self._hello,
            "take": self._take,
            "session": self._session,
            "finish": self._finish,
            "state": self._state,
            "servers": self._report_servers,
            "events": self._events,
            "orders": self._orders,
        }

    async def answer(self, line: json_lines.Line, emit: json_lines.Emit) -> Any:
        """Do what one line asks."""
        request = params.convert(protocol.Request, line.body, "take this request")
        if request.method == "mcp":
            return await self._answer_mcp(request.params, line.suspicious)
        method = self._methods.get(request.method)
        if method is None:
            raise errors.invalid(
                f"cannot do {request.method[:32]!r}: there is no such method; there are "
                f"{', '.join(agent_protocol.METHODS)}"
            )
        given = request.params
        if line.suspicious:
            if request.method in _NOISE:
                # What a terminal showed, or what a failing program said: never worth a refusal.
                given = strict_json.repair(given)
            else:
                line.require_clean()
        return await method(given)

    def may_cancel(self, body: Mapping[str, Any]) -> bool:
        """Nothing: a harness that wants to stop waiting closes its connection."""
        return False

    async def close(self) -> None:
        """End the tool calls that still run."""
        await self._calls.end()

    async def _hello(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Hello, given, "say hello")
        if asked.protocol != agent_protocol.PROTOCOL:
            raise errors.conflict(
                f"cannot speak protocol {asked.protocol}: this daemon speaks "
                f"{agent_protocol.PROTOCOL}; restart the agent so that its harness matches"
            )
        return await self._turns.hello(self._agent, asked.boot)

    async def _take(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Take, given, "take a turn")
        return await self._turns.take(self._agent, asked.boot, asked.known())

    async def _session(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Session, given, "note a session")
        await self._turns.session_exists(self._agent, ids.TurnId(asked.turn), asked.session)
        return {}

    async def _finish(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Finish, given, "finish a turn")
        turn = ids.TurnId(asked.turn)
        # First: a receive that still waits must not lease mail to a turn that has ended.
        cut = await self._calls.end(turn)
        unheard = [_stored_key(turn, key) for key in cut]
        await self._turns.finish(self._agent, turn, asked.report(), unheard)
        return {}

    async def _state(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.State, given, "report a state")
        await self._turns.report_state(self._agent, asked.state, protocol.cut(asked.note))
        return {}

    async def _report_servers(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Servers, given, "report MCP servers")
        told = [{"name": one.name, "status": one.status} for one in asked.servers]
        await self._services.fleet.report_servers(self._agent, told)
        return {}

    async def _events(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Events, given, "store events")
        return {"next": await self._intake.take(asked.boot, asked.first, asked.events)}

    async def _orders(self, given: dict[str, Any]) -> Any:
        asked = params.convert(protocol.Orders, given, "wait for orders")
        return {"order": await self._turns.orders(self._agent, ids.TurnId(asked.turn))}

    async def _answer_mcp(self, given: dict[str, Any], suspicious: bool) -> Any:
        flaw = strict_json.find_unstorable(given) if suspicious else None
        if flaw is not None:
            # The model wrote it, so the model is told, by the tool that it called.
            given = strict_json.repair(given)
        asked = params.convert(protocol.Mcp, given, "answer an MCP message")
        turn = ids.TurnId(asked.turn)
        method = asked.message.get("method")
        if method == "notifications/cancelled":
            cancelled = asked.message.get("params")
            if isinstance(cancelled, dict):
                await self._calls.cancel(turn, cancelled.get("requestId"))
            return {"message": None}

        async def run() -> dict[str, Any] | None:
            mcp = await self._load_mcp()
            # Asked anew for each call: rights follow the store, not the connection.
            caller = await self._services.fleet.identify(self._agent)
            call = tools.Call(self._services, caller, turn, _stored_key(turn, asked.key))
            return await mcp.answer(asked.message, mcp.Exchange(call, flaw, self._log))

        if method != "tools/call":
            return {"message": await run()}
        return {"message": await self._calls.join(turn, asked.key, asked.message, run)}


def _stored_key(turn: ids.TurnId, key: str) -> str:
    # Hashed: whatever length a harness takes for its keys, the store's limit is kept.
    return f"mcp:{turn}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


_NOISE: Final = frozenset({"events", "finish", "state"})
