"""The forge that keeps a copy of every configuration repository (S49-S53)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from hyperhive.ports.sandbox import Finding


@dataclasses.dataclass(frozen=True, slots=True)
class MirrorTarget:
    """One repository to mirror."""

    name: str
    """Name on the forge below the organisation: an agent's name, or ``meta``."""
    repository: str
    """Path of the daemon's own bare repository."""
    refs: Mapping[str, str]
    """What the forge must have: full ref names to object ids, pinned when the sync began."""


class Mirror(Protocol):
    """Pushes to a private organisation of a local forge. Never needed for a deploy."""

    async def probe(self) -> list[Finding]:
        """Whether the forge answers, the account is no admin, the organisation is private."""
        ...

    async def prepare(self) -> None:
        """Make the private organisation if missing, and check it; idempotent."""
        ...

    async def sync(self, target: MirrorTarget) -> int:
        """Make the forge's refs those of *target*, in chunks; how many refs were changed.

        The repository is created (private) when it is missing and made private again when it
        is not. `HiveError` UNAVAILABLE with a short reason for everything that a forge can do
        wrong; never another exception, never a git process left, never a token in a message.
        """
        ...

    async def forget(self, name: str) -> None:
        """Nothing is deleted on the forge: archives the repository of a purged agent."""
        ...
