"""A Forgejo mirror at a test forge, with a repository to push: what tests of faults begin with."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.mirror import place
from hyperhive.adapters.mirror.forgejo import ForgejoMirror
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.adapters.secrets.memory import MemorySecrets
from rigs.forge.server import Forge
from rigs.forge.source import Source
from rigs.forge.state import Organisation, Repository

ORG = "agent-configs"
SCOPES = ("write:organization", "write:repository", "read:user")


@dataclasses.dataclass
class Bench:
    forge: Forge
    source: Source
    secrets: MemorySecrets
    clock: ManualClock
    mirror: ForgejoMirror
    token: str
    notices: list[str]

    async def sync(self) -> int:
        return await self.mirror.sync(self.source.target())

    async def fail(self) -> ports.MirrorError:
        """Sync, which must end with an error that says nothing of the token."""
        try:
            changed = await self.sync()
        except ports.MirrorError as error:
            assert self.token not in error.message
            assert error.message.startswith("cannot ")
            return error
        raise AssertionError(f"it went well: {changed} refs were changed")

    @property
    def organisation(self) -> Organisation:
        found = self.forge.world.organisation(ORG)
        assert found is not None
        return found

    @property
    def repository(self) -> Repository:
        return self.forge.repository(ORG, "coder")

    def is_in_step(self) -> bool:
        return self.repository.refs() == self.source.refs()


@contextlib.asynccontextmanager
async def bench(
    root: pathlib.Path, *, prepared: bool = True, synced: bool = False, seconds: float = 20.0
) -> AsyncIterator[Bench]:
    """*seconds* is what every request and every git may take."""
    source = Source(root / "applied" / "1.git")
    source.set("refs/tags/deployed/0", source.commit("seed"))
    async with Forge.running(root / "forge") as forge:
        forge.world.add_account("hive")
        token = forge.world.add_token("hive", *SCOPES)
        secrets = MemorySecrets()
        await secrets.write(ports.TOKEN_SECRET, token)
        notices: list[str] = []
        clock = ManualClock()
        mirror = ForgejoMirror(
            place.make(forge.url, ORG), secrets, HostProcesses(), clock, notices.append,
            api_seconds=seconds, list_seconds=seconds, push_seconds=seconds,
        )  # fmt: skip
        made = Bench(forge, source, secrets, clock, mirror, token, notices)
        if prepared:
            await mirror.prepare()
        if synced:
            await made.sync()
        yield made
