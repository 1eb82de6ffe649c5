"""A reply as the Messages API says it: one JSON message, or its stream of events.

The order and fields of the events follow the streaming page of the Messages API
documentation; `input_json_delta` pieces of one tool call join to one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hyperhive.scripted_model import brain

CHUNK: Final = 24
"""Characters in one delta."""

KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

MESSAGES: Final[Mapping[int, str]] = {
    401: "invalid x-api-key",
    403: "Your API key does not have permission to use the specified resource.",
    404: "model: scripted",
    413: "Request exceeds the maximum size",
    429: "This request would exceed the rate limit of the scripted model.",
    500: "Internal server error",
    529: "Overloaded",
}

PROMPT_TOO_LONG: Final = "prompt is too long: 208310 tokens > 200000 maximum"
NO_CREDIT: Final = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)


def problem(status: int, message: str = "", kind: str = "") -> dict[str, Any]:
    """The body of an error answer, in the API's shape."""
    return {
        "type": "error",
        "error": {
            "type": kind or KINDS.get(status, "api_error"),
            "message": message or MESSAGES.get(status, f"scripted error {status}"),
        },
        "request_id": request_id(),
    }


def request_id() -> str:
    """A fresh value for the ``request-id`` header."""
    return "req_scripted_" + secrets.token_hex(8)


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A reply made ready to be sent, whole or in pieces."""

    id: str
    model: str
    content: tuple[dict[str, Any], ...]
    stop_reason: str
    usage: Mapping[str, int]

    def whole(self) -> dict[str, Any]:
        """The message as one JSON object."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": list(self.content),
            "stop_reason": self.stop_reason,
            "stop_sequence": None,
            "usage": dict(self.usage),
        }

    def events(self) -> Iterator[tuple[str, dict[str, Any], int]]:
        """(event, data, characters of content in it) in the order of the stream."""
        start = self.whole()
        start["content"] = []
        start["stop_reason"] = None
        start["usage"] = {**self.usage, "output_tokens": 1}
        yield "message_start", {"message": start}, 0
        yield "ping", {}, 0
        for index, block in enumerate(self.content):
            yield from _block_events(index, block)
        end = {"stop_reason": self.stop_reason, "stop_sequence": None}
        yield "message_delta", {"delta": end, "usage": dict(self.usage)}, 0
        yield "message_stop", {}, 0


def _block_events(index: int, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int]]:
    deltas: list[tuple[dict[str, Any], int]] = []
    if block["type"] == "text":
        start = {"type": "text", "text": ""}
        for part in pieces(block["text"]):
            deltas.append(({"type": "text_delta", "text": part}, len(part)))
    elif block["type"] == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        for part in pieces(block["thinking"]):
            deltas.append(({"type": "thinking_delta", "thinking": part}, len(part)))
        deltas.append(({"type": "signature_delta", "signature": block["signature"]}, 0))
    else:
        start = {**block, "input": {}}
        deltas.append(({"type": "input_json_delta", "partial_json": ""}, 0))
        for part in pieces(json.dumps(block["input"], ensure_ascii=False)):
            deltas.append(({"type": "input_json_delta", "partial_json": part}, len(part)))
    yield "content_block_start", {"index": index, "content_block": start}, 0
    for delta, size in deltas:
        yield "content_block_delta", {"index": index, "delta": delta}, size
    yield "content_block_stop", {"index": index}, 0


def pieces(text: str) -> list[str]:
    """Cut *text* into deltas."""
    return [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]


def encode(event: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {event}\ndata: {json.dumps({'type': event, **data})}\n\n".encode()


def compose(request: brain.Request, reply: brain.Reply) -> Message:
    """Turn the content blocks of *reply* into a message; the others are the server's."""
    content: list[dict[str, Any]] = []
    reason = "end_turn"
    tokens = brain.Tokens()
    for block in reply:
        if isinstance(block, brain.Say):
            content.append({"type": "text", "text": block.text})
        elif isinstance(block, brain.Think):
            content.append(
                {"type": "thinking", "thinking": block.text, "signature": "c2NyaXB0ZWQ="}
            )
        elif isinstance(block, brain.UseTool):
            name = "toolu_" + secrets.token_hex(12)
            given = {"type": "tool_use", "id": name, "name": block.name}
            content.append({**given, "input": dict(block.input)})
            reason = "tool_use"
        elif isinstance(block, brain.Tokens):
            tokens = block
    for block in reply:
        if isinstance(block, brain.Stop):
            reason = block.reason
    return Message(
        id="msg_" + secrets.token_hex(12),
        model=request.model,
        content=tuple(content),
        stop_reason=reason,
        usage={
            "input_tokens": estimate(request.body) if tokens.input is None else tokens.input,
            "cache_creation_input_tokens": tokens.cache_write,
            "cache_read_input_tokens": tokens.cache_read,
            "output_tokens": estimate(content) if tokens.output is None else tokens.output,
        },
    )


def estimate(value: Any) -> int:
    """A rough number of tokens: a fourth of the characters, at least one."""
    return max(1, len(json.dumps(value, ensure_ascii=False)) // 4)
