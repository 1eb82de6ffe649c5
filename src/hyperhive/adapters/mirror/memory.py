"""A forge in memory, for tests and for stories without a network."""

from __future__ import annotations

import dataclasses

from hyperhive import ports
from hyperhive.adapters.mirror import findings, refs
from hyperhive.adapters.mirror.place import checked


@dataclasses.dataclass
class Kept:
    """One repository of the organisation."""

    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    private: bool = True
    archived: bool = False


class MemoryMirror:
    """Implements `ports.Mirror`. A test orders faults with `fault` and looks into `kept`."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.private: bool | None = None
        """Of the organisation; None: there is none."""
        self.fault: ports.MirrorError | None = None
        """Raised by everything until it is taken away."""
        self.faults: dict[str, ports.MirrorError] = {}
        """Raised by the sync of one repository."""
        self.syncs: list[str] = []
        """Names in the order in which they were asked for."""

    async def probe(self) -> list[ports.Finding]:
        """One finding: it answers, or it does not."""
        if self.fault is not None:
            return [ports.Finding(findings.TOPIC, ports.Severity.NOTICE, self.fault.message)]
        return [ports.Finding(findings.TOPIC, ports.Severity.OK, "answers from memory")]

    async def prepare(self) -> None:
        """Make the organisation private."""
        self._stumble()
        self.private = True

    async def sync(self, target: ports.MirrorTarget) -> int:
        """Make the refs those of *target*; how many were changed."""
        name = checked(target.name)
        self.syncs.append(name)
        self._stumble()
        if name in self.faults:
            raise self.faults[name]
        kept = self.kept.setdefault(name, Kept())
        kept.private, kept.archived = True, False
        specs = refs.plan(refs.ours(target.refs), refs.ours(kept.refs))
        for spec in specs:
            sha, _, ref = spec.removeprefix("+").partition(":")
            if sha:
                kept.refs[ref] = sha
            else:
                del kept.refs[ref]
        return len(specs)

    async def forget(self, name: str) -> None:
        """Put the repository aside."""
        self._stumble()
        kept = self.kept.pop(checked(name), None)
        if kept is not None:
            kept.archived = True
            self.kept[f"{name}.aside-{len(self.kept)}"] = kept

    def _stumble(self) -> None:
        if self.fault is not None:
            raise self.fault
