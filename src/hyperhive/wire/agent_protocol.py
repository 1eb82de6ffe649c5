"""The protocol between a harness in its sandbox and the daemon: version 1.

Standard library only and importable on Python 3.9: the harness runs on whatever
Python the sandbox has, and this file is copied in beside it.

One JSON object per line, UTF-8, over the agent's own unix socket, at most
`LINE_MAX` bytes a line. A request carries an ``id`` that is unique on its
connection; answers may come in any order. The daemon never sends a request,
only answers and, while a harness has called ``orders``, its long-parked answer.

    -> {"id": 1, "method": "hello", "params": {"protocol": 1, "boot": "9f…"}}
    <- {"id": 1, "result": {"protocol": 1, "agent": {...}}}
    <- {"id": 2, "error": {"kind": "conflict", "message": "cannot …"}}

Methods (params -> result):

hello    {"protocol": 1, "boot": str}
         boot is random per harness process. Leases of any other boot of this agent
         are returned first (marked redelivered). -> {"protocol": 1,
         "agent": {"id","name","role"}, "hive": str, "daemon": str (random per daemon run)}
take     {"boot": str, "kinds": [str]}
         Parks, without limit, until there is something to do and the agent may run; leases
         its mail and opens a turn. Calling again before ``finish`` returns the same turn again
         (so a lost answer is harmless). "kinds" are the kinds of turns that the harness knows,
         "mail" alone when it is left out. -> a turn plan: {"turn": str,
         "kind": "mail"|"compaction", "model": str,
         "session": str (UUID), "resume": bool, "system_prompt": str, "woke_by": str,
         "preface": str (said to the model before the mail; may be empty),
         "messages": [message], "unread": int, "settings": {"warm_seconds": float,
         "warm_bytes": int, "max_retries": int, "turn_seconds": float, "tools": [str],
         "allowed_tools": [str], "credential": "api_key"|"token"},
         "mcp_servers": {key: {"command": str, "args": [str], "env": {str: str},
         "secrets": {str: str}}}, "secrets": {str: str}, "warnings": [str]}
         The last three are what the agent's configuration adds; a daemon that does not
         know them leaves them out, and a harness that does not know them runs without.
         "secrets" are environment variables with their values, of the program and of one
         server: they go nowhere but into the environment that they are for.
         A turn of kind "compaction" has no messages: it makes the session shorter and says
         nothing to the model. Its "woke_by" says why. It takes the same flags and files.
         message: {"id": int, "from": str, "type": "text"|"broadcast"|"event", "body": str,
         "in_reply_to": int|null, "sent_at": str, "redelivered": bool}
session  {"turn": str, "session": str}
         The session of that id now exists on disk and must be resumed from now on. -> {}
finish   {"turn": str, "outcome": "ok"|"failed"|"needs_login"|"rate_limited"|
         "too_long"|"interrupted", "note": str, "tool_calls": int, "usage": {…Usage fields…},
         "window": int (tokens that the model's window holds; 0 when not known),
         "retry_at": float|null (Unix seconds)}
         Idempotent. After outcomes other than ok and interrupted the mail goes back and
         the daemon decides when ``take`` answers again, and with what: too_long is answered
         with a compaction or a new session. too_long of a compaction says that the session
         cannot be made to fit. -> {}
state    {"state": "idle"|"thinking"|"compacting"|"backing_off"|…, "note": str} -> {}
servers  {"turn": str, "servers": [{"name": str, "status": str}]}
         How the extra MCP servers stand; sent when that has changed in this boot. status is
         the program's own word ("connected", "failed", "pending", …) or "missing" -> {}
events   {"boot": str, "first": int, "events": [{"turn": str, "kind": str, "data": {…}}]}
         Live events; ``first`` is the number of the first in this boot, so that a resent
         batch is recognised. -> {"next": int} the number expected next
mcp      {"turn": str, "key": str, "message": {…JSON-RPC request…}}
         One message of the MCP server ``hive``. A repeated key returns what the first
         call returned or returns when it is done. -> {"message": {…}|null}
orders   {"turn": str} parks until the operator orders something for this turn, or it is over
         -> {"order": "interrupt"|"none"}
"""

from __future__ import annotations

import json

PROTOCOL = 1
LINE_MAX = 4 * 1024 * 1024
SOCKET_IN_SANDBOX = "/run/hive/hive.sock"
GATEWAY_PORT = 4100
EGRESS_PORT = 3128
CLAUDE_IN_SANDBOX = "/opt/hive/claude"
HARNESS_IN_SANDBOX = "/opt/hive/harness"
STATE_IN_SANDBOX = "/state"

METHODS = (
    "hello", "take", "session", "finish", "state", "servers", "events", "mcp", "orders"
)  # fmt: skip


class ProtocolError(Exception):
    """The other side said something that is not this protocol."""


def encode(message: dict) -> bytes:
    """Return one line, newline included; `ProtocolError` when it is longer than LINE_MAX."""
    line = json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"
    if len(line) > LINE_MAX:
        raise ProtocolError("a line of %d bytes is over the limit of %d" % (len(line), LINE_MAX))
    return line


def decode(line: bytes) -> dict:
    """Return the object on one line, or raise `ProtocolError`."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a line is not JSON: %s" % error) from error
    if not isinstance(message, dict):
        raise ProtocolError("a line is not a JSON object")
    return message
