"""From a configuration to an environment that an agent can run in."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from hyperhive.domain import configuration, ids
from hyperhive.ports.sandbox import Bind, Finding


@dataclasses.dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build."""

    agent: ids.AgentId
    name: ids.AgentName
    role: str
    sha: str
    source: pathlib.Path
    """The exported files of the commit; the builder reads them and changes nothing."""
    configuration: configuration.Configuration
    lock: Mapping[str, object]
    """Pins of an earlier build of this agent (`Generation.lock`); empty: resolve anew."""
    fresh: bool = False
    """Resolve floating versions anew although pins are known (update)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """A built environment. Everything that a sandbox needs of it; immutable."""

    id: ids.GenerationId
    built_from: str
    """The builder's inputs; another value than `Builder.inputs()` gives now means stale (S60)."""
    lowers: tuple[pathlib.Path, ...] = ()
    """Read-only layers over the base root, the uppermost first."""
    binds: tuple[Bind, ...] = ()
    path: tuple[str, ...] = ()
    """Directories in front of PATH inside."""
    lock: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    """What was resolved, for ``hive.lock``: ``{"apt": {name: version}, "pip": …, "npm": …}``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """One thing that configurations are built from (S90)."""

    name: str
    current: str
    locked_at: str
    """RFC 3339, or empty when unknown."""
    url: str = ""


class Builder(Protocol):
    """Builds generations, keeps them, and forgets those that nobody needs."""

    async def probe(self) -> list[Finding]:
        """Say what this host can and cannot build, by trying it."""
        ...

    async def inputs(self) -> list[Input]:
        """What generations are built from now."""
        ...

    async def update_inputs(
        self, names: Collection[str], log: Callable[[str], None]
    ) -> list[Input]:
        """Take newer versions of those inputs; NOT_FOUND for an unknown name. Builds nothing."""
        ...

    def built_from(self) -> str:
        """One word for the present inputs; compare with `Generation.built_from`."""
        ...

    async def build(self, order: BuildOrder, log: Callable[[str], None]) -> Generation:
        """Build, or find what was built of the same inputs before; *log* gets lines as they come.

        `HiveError` INVALID when the configuration cannot be built (its first line is the short
        reason), UNAVAILABLE when the host cannot build now. Cancelling ends all that was started
        and leaves nothing half-made. No network credentials, own limits, own time-out.
        """
        ...

    async def find(self, generation: ids.GenerationId) -> Generation | None:
        """A generation that was built and not collected; None when it must be built again."""
        ...

    async def activate(self, agent: ids.AgentId, generation: ids.GenerationId | None) -> None:
        """Make it the agent's current one: an atomic symlink swap, durable; None is the base."""
        ...

    async def collect(self, keep: Collection[str]) -> int:
        """Forget generations and layers that none of *keep* needs; bytes freed."""
        ...
