"""The MCP server ``hive``, one JSON-RPC message at a time, by the official SDK.

Nothing is remembered between messages: each is served on a connection that counts
as initialised, so a daemon that was restarted in the middle of a session needs no
second handshake. Importing this module costs about a second and 43 MB, so it is
imported when the first message comes (`server.AgentApi`).
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any, Final

import anyio
import mcp_types as types
import msgspec
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.transport_context import TransportContext
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError

import hyperhive
from hyperhive.domain import access, errors
from hyperhive.edges import json_lines, params
from hyperhive.edges.agent_api import tools

_INSTRUCTIONS: Final = (
    "Mail and orders of the hive. Use recv with wait_seconds to wait for mail; never sleep."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """What one message is served with."""

    call: tools.Call
    flaw: str | None
    """What of the message no store takes; a tool must not run on the repaired rest."""
    log: json_lines.Log


@dataclasses.dataclass
class _OneAnswer:
    """`DispatchContext` of a message that is answered once, with no way back to the client."""

    request_id: types.RequestId | None
    transport: TransportContext = dataclasses.field(
        default_factory=lambda: TransportContext(kind="hive", can_send_request=False)
    )
    message_metadata: None = None
    cancel_requested: anyio.Event = dataclasses.field(default_factory=anyio.Event)
    can_send_request: bool = False

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Drop it: there is no channel."""

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Drop it: there is no channel."""


async def answer(message: dict[str, Any], exchange: Exchange) -> dict[str, Any] | None:
    """Return the JSON-RPC answer to *message*; None for a notification."""
    if "id" not in message:
        return None
    try:
        request = types.JSONRPCRequest.model_validate(message)
    except ValidationError:
        return _error(None, types.INVALID_REQUEST, "Invalid request")
    try:
        result = await serve_one(
            _SERVER,
            _OneAnswer(request.id),
            request.method,
            request.params,
            connection=Connection.from_envelope(LATEST_HANDSHAKE_VERSION, None, None),
            lifespan_state=exchange,
        )
    except MCPError as error:
        return _error(request.id, error.error.code, error.error.message)
    except ValidationError:
        return _error(request.id, types.INVALID_PARAMS, "Invalid request parameters")
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def _error(request: types.RequestId | None, code: int, message: str) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": request,
        "error": {"code": code, "message": message},
    }


async def _list_tools(
    context: ServerRequestContext[Exchange], _: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    caller = context.lifespan_context.call.caller
    return types.ListToolsResult(
        tools=[
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.input_schema)
            for tool in tools.TOOLS
            if tool.allows(caller)
        ]
    )


async def _call_tool(
    context: ServerRequestContext[Exchange], request: types.CallToolRequestParams
) -> types.CallToolResult:
    exchange = context.lifespan_context
    try:
        if exchange.flaw is not None:
            raise errors.invalid(
                f"cannot {request.name[:64]}: the text contains {exchange.flaw}; leave it out"
            )
        result = await _run(exchange.call, request.name, request.arguments or {})
    except errors.HiveError as error:
        return _said(error.message, failed=True)
    except Exception:
        reference = secrets.token_hex(4)
        exchange.log.error("tool_bug", reference=reference, tool=request.name[:64], exc_info=True)
        return _said(
            f"cannot {request.name[:64]}: a bug in the hive; its log has reference {reference}",
            failed=True,
        )
    return _said(msgspec.json.encode(result).decode(), failed=False)


async def _run(call: tools.Call, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    tool = tools.BY_NAME.get(name)
    if tool is None:
        known = ", ".join(tool.name for tool in tools.TOOLS if tool.allows(call.caller))
        raise errors.not_found(f"cannot call {name[:64]!r}: there is no such tool; use {known}")
    if not tool.allows(call.caller):
        access.require(call.caller, access.Right.MANAGER, f"call {name}")
    return await tool.run(call, params.convert(tool.params, arguments, name))


def _said(text: str, *, failed: bool) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], is_error=failed
    )


_SERVER: Final[Server[Any]] = Server(
    "hive",
    version=hyperhive.__version__,
    instructions=_INSTRUCTIONS,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
)
