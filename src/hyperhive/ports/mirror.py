"""The forge that keeps a copy of every configuration repository (S49-S53)."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final, Protocol

from hyperhive.domain import errors
from hyperhive.ports.sandbox import Finding

TOKEN_SECRET: Final = "forge-token"  # noqa: S105 - the name of the secret
"""Name of the account's token among the `Secrets`."""


class Fault(enum.Enum):
    """What a forge can do wrong, as far as a caller may act on it."""

    UNREACHABLE = "unreachable"
    """Nobody answers, or the connection broke."""
    SLOW = "slow"
    """No end within the time that it had."""
    FAILING = "failing"
    """It answers 5xx, or git cannot talk to it although its API is well."""
    GARBLED = "garbled"
    """What answers is no forge's API: HTML, half a document, endless."""
    BUSY = "busy"
    """429: it asks us to wait."""
    UNAUTHORISED = "unauthorised"
    """There is no token, or it is not taken."""
    FORBIDDEN = "forbidden"
    """The token or its account lacks a right."""
    MOVED = "moved"
    """It sends us elsewhere; we do not go."""
    EXPOSED = "exposed"
    """The organisation or the repository is not private and cannot be made so."""
    ARCHIVED = "archived"
    """The repository is archived and cannot be opened again."""
    REFUSED = "refused"
    """It does not take this request or these refs."""
    LOCAL = "local"
    """Our own side: git or the repository to push from."""


FORGE_WIDE = frozenset(
    {
        Fault.UNREACHABLE, Fault.SLOW, Fault.FAILING, Fault.GARBLED, Fault.BUSY,
        Fault.UNAUTHORISED,
    }
)  # fmt: skip
"""Faults that the next repository would meet as well."""


class MirrorError(errors.HiveError):
    """UNAVAILABLE, with what the forge did wrong and when it wants to be asked again."""

    def __init__(self, fault: Fault, message: str, retry_after: float | None = None) -> None:
        super().__init__(errors.ErrorKind.UNAVAILABLE, message)
        self.fault = fault
        self.retry_after = retry_after
        """Seconds; None when the forge did not say."""


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
        """Make the private organisation if missing, and check it; idempotent.

        `MirrorError` like `sync`.
        """
        ...

    async def sync(self, target: MirrorTarget) -> int:
        """Make the forge's refs those of *target*, in chunks; how many refs were changed.

        The repository is created (private) when it is missing and made private again when it
        is not. `MirrorError` (UNAVAILABLE) with a short reason for everything that a forge can do
        wrong; never another exception, never a git process left, never a token in a message.
        Only main and tags of the six kinds (`TagKind`) are pushed, moved or deleted there;
        main is never deleted. Other refs of the forge stay as they are.
        """
        ...

    async def forget(self, name: str) -> None:
        """Put the repository of a purged agent aside; nothing is deleted on the forge.

        It is archived under another name, so that an agent that gets the name later begins
        an empty one. No error when there is none. `MirrorError` like `sync`.
        """
        ...
