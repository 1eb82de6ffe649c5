"""Counts tokens on a copy of what passes through; never delays or changes a byte.

Tolerant on purpose: whatever is not understood counts as nothing. Field names
are those of the Messages API: ``usage`` in ``message_start`` and, with the
final figures, in ``message_delta``; or once in an unstreamed message.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hyperhive.domain import turns

LINE_MAX: Final = 1024 * 1024
"""A longer line of the stream is skipped."""
BODY_MAX: Final = 8 * 1024 * 1024
"""An unstreamed message that is longer is not counted."""

_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


class UsageTap:
    """Watches one response body and knows afterwards what it cost in tokens."""

    def __init__(self, content_type: str) -> None:
        self._streaming = content_type.startswith("text/event-stream")
        self._held = bytearray()
        self._skipping = False
        self._figures: dict[str, int] = {}
        self.model = ""
        """Which model answered, as the answer says; empty until it has."""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes of the body."""
        if not self._streaming:
            if len(self._held) <= BODY_MAX:
                self._held += chunk
            return
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if not self._skipping:
                self._held += chunk[start:end]
                self._line(bytes(self._held))
            self._held.clear()
            self._skipping = False
            start = end + 1
        if not self._skipping:
            self._held += chunk[start:]
            if len(self._held) > LINE_MAX:
                self._held.clear()
                self._skipping = True

    def finish(self) -> turns.Usage | None:
        """The usage of what came, also after a cut; None when the answer told none."""
        if not self._streaming and self._held:
            if len(self._held) <= BODY_MAX:
                self._note(_parse(bytes(self._held)))
            self._held.clear()
        return self.told()

    def told(self) -> turns.Usage | None:
        """The usage that the answer has told up to now; None when it has told none."""
        if not self._figures:
            return None
        fresh = self._figures.get("input_tokens", 0)
        read = self._figures.get("cache_read_input_tokens", 0)
        written = self._figures.get("cache_creation_input_tokens", 0)
        return turns.Usage(
            input_tokens=fresh,
            output_tokens=self._figures.get("output_tokens", 0),
            cache_read_tokens=read,
            cache_write_tokens=written,
            context_tokens=fresh + read + written,
        )

    def _line(self, line: bytes) -> None:
        # A cheap look first: nearly all lines are deltas of text and hold no usage.
        if not line.startswith(b"data:") or b'"usage"' not in line:
            return
        event = _parse(line[5:])
        if event.get("type") == "message_start":
            self._note(event.get("message"))
        elif event.get("type") == "message_delta":
            self._note(event)

    def _note(self, holder: Any) -> None:
        if not isinstance(holder, dict):
            return
        model = holder.get("model")
        if isinstance(model, str):
            self.model = model
        usage = holder.get("usage")
        if not isinstance(usage, dict):
            return
        for field in _FIELDS:
            value = usage.get(field)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                self._figures[field] = value


def _parse(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
