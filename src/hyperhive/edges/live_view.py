"""How a line of an agent's terminal looks outside the process."""

from __future__ import annotations

from typing import Any

from hyperhive import ports
from hyperhive.wire import views


def live_event_view(event: ports.LiveEvent) -> dict[str, Any]:
    """One live event as JSON."""
    return {
        "number": event.number,
        "at": views.timestamp(event.at),
        "turn": event.turn,
        "kind": event.kind,
        "data": dict(event.data),
    }
