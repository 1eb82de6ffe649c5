"""Time."""

from __future__ import annotations

import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time. Tests move a manual one."""

    def now(self) -> datetime.datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds* of this clock."""
        ...
