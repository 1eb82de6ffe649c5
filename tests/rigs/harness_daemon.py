"""A daemon for tests of the harness: threads on a unix socket, scripted by the test."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

TOOLS = [
    {
        "name": "recv",
        "description": "Receive mail.",
        "inputSchema": {
            "type": "object",
            "properties": {"wait_seconds": {"type": "number"}},
        },
    },
    {"name": "whoami", "description": "Say who you are.", "inputSchema": {"type": "object"}},
]


class FakeDaemon:
    """Speaks version 1 of the agent protocol as `wire/agent_protocol.py` tells it.

    Turns put in with `give` are handed out by ``take``, again and again until
    they are finished. It can vanish (`hang_up`) and come back (`listen`).
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.hellos: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.states: list[tuple[str, str]] = []
        self.sessions: list[dict[str, Any]] = []
        self.finishes: list[dict[str, Any]] = []
        self.servers: list[list[dict[str, Any]]] = []
        self.mcp_calls: list[dict[str, Any]] = []
        self.notifications: list[str] = []
        self.on_tool: Callable[[str, dict[str, Any]], dict[str, Any]] = answer_text
        self.refuse: dict[str, tuple[str, str]] = {}
        self._plans: collections.deque[dict[str, Any]] = collections.deque()
        self._finished: set[str] = set()
        self._answered: dict[str, dict[str, Any]] = {}
        self._order: dict[str, str] = {}
        self._next_event: dict[str, int] = {}
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []

    # --- for the test -------------------------------------------------------------------

    def listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        listener.bind(str(self.path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def hang_up(self) -> None:
        """Vanish as if killed: no listener, every connection cut."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._changed:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def give(self, plan: dict[str, Any]) -> str:
        with self._changed:
            self._plans.append(plan)
            self._changed.notify_all()
        return plan["turn"]

    def order(self, turn: str, what: str = "interrupt") -> None:
        with self._changed:
            self._order[turn] = what
            self._changed.notify_all()

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Return the truth of *condition* as soon as something that came in makes it true."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (found := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"waited {seconds} s in vain\n{self.tell()}"
                self._changed.wait(left)
            return found

    def ended(self, turn: str, seconds: float = 30.0) -> dict[str, Any]:
        """The ``finish`` of a turn."""

        def found() -> dict[str, Any] | None:
            return next((one for one in self.finishes if one["turn"] == turn), None)

        return self.wait(found, seconds)

    def of_kind(self, kind: str, turn: str | None = None) -> list[dict[str, Any]]:
        return [e["data"] for e in self.events if e["kind"] == kind and turn in (None, e["turn"])]

    def notes(self) -> str:
        return "\n".join(data["text"] for data in self.of_kind("note"))

    def tell(self) -> str:
        return "\n".join(
            [f"finishes: {self.finishes}", f"states: {self.states}"]
            + [json.dumps(event)[:300] for event in self.events]
        )

    # --- the protocol -------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                if self._listener is not listener:
                    connection.close()
                    return
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lock = threading.Lock()
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                threading.Thread(
                    target=self._answer, args=(connection, lock, request), daemon=True
                ).start()

    def _answer(
        self, connection: socket.socket, lock: threading.Lock, request: dict[str, Any]
    ) -> None:
        method = request["method"]
        with self._changed:
            refusal = self.refuse.get(method)
        if refusal is not None:
            answer = {"error": {"kind": refusal[0], "message": refusal[1]}}
        else:
            found = getattr(self, f"_{method}")(request["params"], connection)
            if found is None:
                return
            answer = {"result": found}
        line = json.dumps({"id": request["id"], **answer}).encode() + b"\n"
        with lock, contextlib.suppress(OSError):
            connection.sendall(line)

    def _hello(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            self.hellos.append(params["boot"])
            self._changed.notify_all()
        agent = {"id": "0123456789ab", "name": "coder", "role": "agent"}
        return {"protocol": 1, "agent": agent, "hive": "test", "daemon": "d"}

    def _take(self, _params: dict[str, Any], on: socket.socket) -> dict[str, Any] | None:
        with self._changed:
            while not self._plans:
                if on not in self._connections:
                    return None
                self._changed.wait(0.2)
            return self._plans[0]

    def _session(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            self.sessions.append(params)
            self._changed.notify_all()
        return {}

    def _finish(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            if params["turn"] not in self._finished:
                self._finished.add(params["turn"])
                self.finishes.append(params)
                self._plans.popleft()
            self._changed.notify_all()
        return {}

    def _state(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            self.states.append((params["state"], params["note"]))
            self._changed.notify_all()
        return {}

    def _servers(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            self.servers.append(params["servers"])
            self._changed.notify_all()
        return {}

    def _events(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        with self._changed:
            expected = self._next_event.get(params["boot"], 1)
            new = params["events"][max(0, expected - params["first"]) :]
            assert params["first"] <= expected, "events are missing"
            self.events.extend(new)
            self._next_event[params["boot"]] = expected + len(new)
            self._changed.notify_all()
            return {"next": self._next_event[params["boot"]]}

    def _orders(self, params: dict[str, Any], on: socket.socket) -> dict[str, Any] | None:
        with self._changed:
            while params["turn"] not in self._order:
                if on not in self._connections or params["turn"] in self._finished:
                    return None
                self._changed.wait(0.2)
            return {"order": self._order[params["turn"]]}

    def _mcp(self, params: dict[str, Any], _on: socket.socket) -> dict[str, Any]:
        message, key = params["message"], params["key"]
        with self._changed:
            self.mcp_calls.append(params)
            if "id" not in message:
                self.notifications.append(message["method"])
            self._changed.notify_all()
            if key in self._answered:
                return {"message": self._answered[key]}
        if "id" not in message:
            return {"message": None}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": self._mcp_result(message)}
        with self._changed:
            self._answered[key] = answer
        return {"message": answer}

    def _mcp_result(self, message: dict[str, Any]) -> dict[str, Any]:
        params = message.get("params") or {}
        if message["method"] == "initialize":
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "hive", "version": "1"},
            }
        if message["method"] == "tools/list":
            return {"tools": TOOLS}
        return self.on_tool(params["name"], params.get("arguments") or {})


def answer_text(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A tool's plain answer."""
    return {"content": [{"type": "text", "text": f"{name} answered {json.dumps(given)}"}]}


def plan(
    *bodies: str,
    session: str = "",
    resume: bool = False,
    sender: str = "operator",
    unread: int = 0,
    system_prompt: str = "You are coder.",
    **settings: Any,
) -> dict[str, Any]:
    """A turn plan with one message a body."""
    number = int.from_bytes(os.urandom(3), "big")
    return {
        "turn": uuid.uuid4().hex[:12],
        "model": "claude-sonnet-5",
        "session": session or str(uuid.uuid4()),
        "resume": resume,
        "system_prompt": system_prompt,
        "woke_by": sender,
        "messages": [
            {
                "id": number + index,
                "from": sender,
                "type": "text",
                "body": body,
                "in_reply_to": None,
                "sent_at": "2026-11-23T00:00:00Z",
                "redelivered": False,
            }
            for index, body in enumerate(bodies)
        ],
        "unread": unread,
        "settings": {
            "warm_seconds": 60.0,
            "warm_bytes": 2 * 1024**3,
            "max_retries": 1,
            "turn_seconds": 60.0,
            "tools": ["Bash", "Read", "Write"],
            "allowed_tools": ["Bash", "Read", "Write", "mcp__hive"],
            **settings,
        },
    }
