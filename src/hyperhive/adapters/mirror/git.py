"""Runs git against the forge, in one way only.

The environment is made from nothing, no configuration file but the repository's own is read, no
hook runs, no redirect is followed, no proxy is used, its memory has a limit (git keeps all that a
server advertises, however much it is), and a wall clock ends the whole process group. What
happened is judged by exit status and ``--porcelain``, never by other text.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.mirror import credentials, redact, refs
from hyperhive.adapters.mirror.place import Place
from hyperhive.domain import errors

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_SSH_COMMAND": "/bin/false",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C",
}
_CONFIGURATION: Final = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.followRedirects", "false"),
    ("http.proxy", ""),
    ("push.gpgSign", "false"),
    # Within the limit of memory: packs of configurations are small, and so may be its windows.
    ("core.packedGitWindowSize", "32m"),
    ("pack.threads", "1"),
    ("pack.windowMemory", "100m"),
    ("push.recurseSubmodules", "no"),
    ("protocol.allow", "never"),
]
MEMORY_KIB: Final = 512 * 1024
_LIMITED: Final = ["sh", "-c", 'ulimit -v "$0" && exec git "$@"', str(MEMORY_KIB)]
_NO_PROGRAM: Final = (126, 127)
_OUTPUT: Final = 16 * 1024 * 1024
"""Some 150 000 refs."""


class PushFailed(Exception):
    """git could not do it; the forge's API knows better why."""

    def __init__(self, said: str, *, refused: bool) -> None:
        super().__init__(said)
        self.said = said
        """The last complaint of git, redacted."""
        self.refused = refused
        """The forge was reached and declined the refs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Git:
    """git for one place with one token."""

    processes: ports.Processes
    place: Place
    token: str = dataclasses.field(repr=False)
    list_seconds: float
    push_seconds: float

    async def list_refs(self, repository: str, name: str) -> dict[str, str]:
        """The forge's refs that are ours to change; `PushFailed` when git could not ask."""
        argv = ["ls-remote", "--refs", "--quiet", self.place.clone_url(name)]
        result = await self._run(argv, repository, self.list_seconds)
        if result.code != 0:
            raise PushFailed(self._complaint(result), refused=False)
        return refs.parse_listing(result.stdout)

    async def push(self, repository: str, name: str, specs: list[str]) -> None:
        """Push *specs*, all or none; `PushFailed` when it was none."""
        argv = ["push", "--porcelain", "--atomic", "--no-verify", self.place.clone_url(name)]
        result = await self._run([*argv, *specs], repository, self.push_seconds)
        lines = result.stdout.decode("utf-8", "replace").splitlines()
        if result.code == 0 and "Done" in lines:
            return
        refusal = next((line for line in lines if line.startswith("!\t")), None)
        if refusal is not None:
            said = redact.redact(" ".join(refusal.split("\t")[1:]), self.token)
            raise PushFailed(said, refused=True)
        raise PushFailed(self._complaint(result), refused=False)

    async def _run(self, argv: list[str], repository: str, seconds: float) -> ports.ProcessResult:
        with credentials.held(self.token) as descriptor:
            settings = [
                *_CONFIGURATION,
                (f"protocol.{self.place.scheme}.allow", "always"),
                *credentials.configuration(self.place.origin, descriptor),
            ]
            try:
                # Ended from here, so that slowness is told from what else is UNAVAILABLE.
                async with asyncio.timeout(seconds):
                    result = await self.processes.run(
                        [*_LIMITED, *argv],
                        env=_environment(settings, repository),
                        cwd=pathlib.Path(repository),
                        timeout=seconds + 60.0,
                        pass_fds=[descriptor],
                        output_limit=_OUTPUT,
                    )
            except TimeoutError as error:
                raise ports.MirrorError(
                    ports.Fault.SLOW,
                    f"cannot reach an end with {self.place.base}: git {argv[0]} took longer than "
                    f"{seconds:g} s and was ended",
                ) from error
            except errors.HiveError as error:
                raise ports.MirrorError(ports.Fault.LOCAL, error.message) from error
        if result.code in _NO_PROGRAM:
            raise ports.MirrorError(
                ports.Fault.LOCAL, "cannot run git: the program is missing; install it"
            )
        return result

    def _complaint(self, result: ports.ProcessResult) -> str:
        lines = result.stderr.decode("utf-8", "replace").splitlines()
        own = [line for line in lines if line.startswith(("fatal:", "error:"))]
        last = (own or ["it said nothing"])[-1]
        return redact.redact(f"git ended with {result.code}: {last}", self.token)


def _environment(settings: list[tuple[str, str]], repository: str) -> dict[str, str]:
    env = {
        **_ENVIRONMENT,
        # A directory that is no repository must not make git look above it.
        "GIT_CEILING_DIRECTORIES": str(pathlib.Path(repository).parent),
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env
