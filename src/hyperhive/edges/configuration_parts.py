"""What the verbs about configurations act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from hyperhive import ports
from hyperhive.edges import build_logs
from hyperhive.services import card, proposing, repositories


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Configuration in git, as far as the operator reaches it; the daemon builds it."""

    cards: card.Cards
    proposing: proposing.Proposing
    repositories: repositories.Repositories
    build_logs: build_logs.BuildLogs
    probes: tuple[Callable[[], Awaitable[list[ports.Finding]]], ...] = ()
    """What says for `hive doctor` what can be imported and built on this host."""
