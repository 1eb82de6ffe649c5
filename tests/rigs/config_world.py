"""Configuration repositories for contract tests: the memory twins and the real ones, alike."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import git_objects, memory
from hyperhive.domain import ids

CODER = ids.AgentId("c0de" * 3)
CODER_NAME = ids.AgentName("coder")
SEED = {"agent.toml": b"schema = 1\n", "prompts/role.md": b"Be brief.\n"}


@dataclasses.dataclass(slots=True)
class Made:
    """Commits as an agent would make them, and how its sandbox would send them."""

    clock: ManualClock
    known: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)

    def commit(
        self, files: Mapping[str, bytes], parents: Sequence[str] = (), message: str = "Change it"
    ) -> str:
        """Make a commit of exactly *files*; its id."""
        return memory.add_commit(self.known, files, parents, self.clock, message)

    def produce(self, sha: str) -> ports.Produce:
        """What a requester's sandbox sends for *sha*: the id, and a pack of all that was made."""

        async def produce(commit_ref: str) -> AsyncIterator[bytes]:
            pack = git_objects.write_pack(self.known.values())
            yield sha.encode() + b"\n"
            # In pieces, as from a pipe.
            for start in range(0, len(pack), 100):
                yield pack[start : start + 100]

        return produce


async def bring(
    repos: ports.ConfigRepos,
    made: Made,
    approval: int,
    files: Mapping[str, bytes],
    parents: Sequence[str] = (),
) -> ports.Commit:
    """Import a new commit of *files* for the coder as proposal/<approval>."""
    sha = made.commit(files, parents)
    return await repos.import_commit(CODER, ids.ApprovalId(approval), sha[:12], made.produce(sha))


def tag(kind: ports.TagKind, approval: int, sha: str, message: str = "") -> ports.Tag:
    """A tag, shortly written."""
    return ports.Tag(kind, approval, sha, message)


def entry(
    name: str, sha: str, *, role: str = "agent", generation: str = "", **lock: object
) -> ports.MetaEntry:
    """What meta pins for an agent called *name*; its id is made of the name."""
    number = int.from_bytes(name.encode()[:6].ljust(6, b"\0"), "big")
    return ports.MetaEntry(
        ids.AgentId(f"{number:012x}"), ids.AgentName(name), role, sha, generation, lock
    )
