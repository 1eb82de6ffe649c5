"""Events of the stream as records for the operator's terminal.

Rule: small and readable. Unknown events are left out, long values are cut with
a mark that says how much is missing, and nothing here decides anything.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

RESULT_MAX = 64 * 1024
TEXT_MAX = 256 * 1024
INPUT_MAX = 16 * 1024

Record = Tuple[str, Dict[str, Any]]


def cut(text: str, limit: int) -> Tuple[str, int]:
    """Return at most *limit* characters of *text*, and how many are missing."""
    if len(text) <= limit:
        return text, 0
    return text[:limit], len(text) - limit


def note(text: str, **more: Any) -> Record:
    """A remark of the harness or the program."""
    return "note", dict(more, text=cut(text, 4000)[0])


def records(event: Dict[str, Any]) -> Iterator[Record]:
    """Yield what the terminal shows of one event of the stream."""
    kind = event.get("type")
    if kind == "assistant":
        yield from _assistant(event)
    elif kind == "user":
        yield from _user(event)
    elif kind == "system":
        yield from _system(event)
    elif kind == "rate_limit_event":
        info = event.get("rate_limit_info") or {}
        if info.get("status") != "allowed":
            yield note(f"rate limit: {info.get('status')}", rate_limit=shorten(info, 2000))


def wake(message: Dict[str, Any]) -> Record:
    """A message that started the turn."""
    body, missing = cut(str(message.get("body", "")), TEXT_MAX)
    data = {key: message.get(key) for key in ("id", "from", "type", "in_reply_to", "redelivered")}
    data["body"] = body
    if missing:
        data["missing"] = missing
    return "wake", data


def shorten(value: Any, limit: int) -> Any:
    """Return *value* with every long string in it cut and marked."""
    if isinstance(value, str):
        text, missing = cut(value, limit)
        return f"{text}… [{missing} more characters]" if missing else text
    if isinstance(value, dict):
        return {str(key): shorten(one, limit) for key, one in list(value.items())[:200]}
    if isinstance(value, list):
        return [shorten(one, limit) for one in value[:200]]
    return value


def _assistant(event: Dict[str, Any]) -> Iterator[Record]:
    message = event.get("message") or {}
    parent = event.get("parent_tool_use_id")
    more = {"parent": parent} if parent else {}
    for block in _blocks(message.get("content")):
        kind = block.get("type")
        if kind in ("text", "thinking"):
            text, missing = cut(str(block.get(kind, "")), TEXT_MAX)
            if text:
                data = dict(more, text=text)
                if missing:
                    data["missing"] = missing
                yield str(kind), data
        elif kind == "tool_use":
            given = shorten(block.get("input") or {}, INPUT_MAX)
            yield "tool_use", dict(more, id=block.get("id"), name=block.get("name"), input=given)


def _user(event: Dict[str, Any]) -> Iterator[Record]:
    for block in _blocks((event.get("message") or {}).get("content")):
        if block.get("type") != "tool_result":
            continue
        content, missing = cut(_plain(block.get("content")), RESULT_MAX)
        data = {
            "id": block.get("tool_use_id"),
            "is_error": bool(block.get("is_error")),
            "content": content,
        }
        if missing:
            data["missing"] = missing
        yield "tool_result", data


def _system(event: Dict[str, Any]) -> Iterator[Record]:
    kind = event.get("subtype")
    if kind == "api_retry":
        wait = float(event.get("retry_delay_ms") or 0) / 1000
        yield note(
            f"the model's API answered {event.get('error_status') or event.get('error')}: "
            f"attempt {event.get('attempt')} of {event.get('max_retries')} failed, "
            f"next in {wait:.1f} s",
            retry=True,
        )
    elif kind == "permission_denied":
        yield note(f"not permitted: {event.get('tool_name') or event.get('message') or 'a tool'}")
    elif kind == "compact_boundary":
        figures = event.get("compact_metadata") or event
        yield note(
            f"compacted: {figures.get('pre_tokens')} tokens became {figures.get('post_tokens')}"
        )
    elif kind == "status" and event.get("compact_error"):
        yield note(str(event["compact_error"]))


def _blocks(content: Any) -> List[Dict[str, Any]]:
    if isinstance(content, list):
        return [block for block in content if isinstance(block, dict)]
    return []


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = []
    for block in _blocks(content):
        kind = block.get("type")
        parts.append(str(block.get("text", "")) if kind == "text" else f"[{kind}]")
    return "\n".join(parts)
