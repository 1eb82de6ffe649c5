"""Configuration repositories for contract tests: the memory twins and the real ones, alike."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import applied, git, git_objects, importer, locks, meta
from hyperhive.adapters.process.host import HostProcesses
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
        return git_objects.add_commit(self.known, files, parents, self.clock.now(), message)

    def produce(self, sha: str) -> ports.Produce:
        """What a requester's sandbox sends for *sha*: the id, and a pack of all that was made."""

        async def produce(commit_ref: str) -> AsyncGenerator[bytes, None]:
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


class NoSandbox:
    """`ports.OneShots` without a sandbox: for commits that our own tests have made."""

    async def probe(self) -> list[ports.Finding]:
        return []

    async def run(
        self,
        order: ports.OneShot,
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        output_limit: int = 16 * 1024**2,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> ports.ProcessResult:
        argv = list(order.argv)
        for bind in order.binds:
            argv = [word.replace(bind.target, str(bind.source)) for word in argv]
        given = stdin.read_bytes() if isinstance(stdin, pathlib.Path) else stdin
        result = await HostProcesses().run(
            argv, env=order.env, stdin=given, timeout=timeout, output_limit=output_limit
        )
        if stdout is not None:
            stdout.write_bytes(result.stdout)
        return result


def real(home: pathlib.Path, clock: ports.Clock) -> tuple[applied.AppliedRepos, meta.MetaRepo]:
    """The real repositories below *home*, which is made; imports run without a sandbox."""
    for name, mode in (("", 0o711), ("run", 0o711)):
        (home / name).mkdir(mode=mode, exist_ok=True)
    program = git.Git(HostProcesses(), never=[home / "proposed"])
    held = locks.Locks(home / "run" / "locks")
    importing = importer.Importer(NoSandbox(), program, clock, home / "run" / "import")
    return (
        applied.AppliedRepos(home, git=program, locks=held, importer=importing, clock=clock),
        meta.MetaRepo(home, git=program, locks=held, clock=clock),
    )
