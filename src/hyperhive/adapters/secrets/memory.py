"""Secrets in memory, for tests."""

from __future__ import annotations


class MemorySecrets:
    """Implements `ports.Secrets`; forgets everything with the process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    async def read(self, name: str) -> str | None:
        """The secret of that name, or None."""
        return self._values.get(name)

    async def write(self, name: str, value: str) -> None:
        """Keep *value*."""
        self._values[name] = value

    async def delete(self, name: str) -> None:
        """Forget it."""
        self._values.pop(name, None)
