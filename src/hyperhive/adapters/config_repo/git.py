"""The one way in which we run git, and only on repositories that are ours alone.

The environment is made from nothing, no configuration file but the repository's own is read,
and what a configuration could start (hooks, monitors, helpers, lazy fetches, maintenance) is
off. That is no defence against a hostile repository; there is none (git(1), SECURITY). So a
repository that is not ours is refused before git starts. What agents write comes in through
`importer`, where git runs in sandboxes with the same environment.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import escapes
from hyperhive.domain import errors

TIMEOUT: Final = 60.0
OUTPUT_LIMIT: Final = 16 * 1024**2
ZERO_SHA: Final = "0" * 40

STRICT: Final = (
    "--strict=badFilemode=error,zeroPaddedFilemode=error,nullSha1=error,"
    "missingSpaceBeforeDate=error,gitmodulesParse=error,gitmodulesLarge=error"
)
"""Option of ``index-pack``: refuses what fsck calls an error, and some of what it only warns of."""

CONFIGURATION: Final[tuple[tuple[str, str], ...]] = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.symlinks", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.quotePath", "true"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.commitGraph", "false"),
    ("core.multiPackIndex", "false"),
    ("core.bigFileThreshold", "1m"),
    ("core.deltaBaseCacheLimit", "8m"),
    # git 2.39 syncs neither loose objects nor references unless told (git-config(1), core.fsync).
    ("core.fsync", "all"),
    ("core.logAllRefUpdates", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("log.showSignature", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.autogc", "false"),
    ("pack.threads", "1"),
    ("transfer.fsckObjects", "true"),
    ("protocol.allow", "never"),
    ("protocol.file.allow", "always"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("uploadpack.packObjectsHook", ""),
    ("safe.bareRepository", "explicit"),
    ("init.defaultBranch", "main"),
    ("user.useConfigOnly", "true"),
    ("user.name", "hyperhive"),
    ("user.email", "hyperhive@localhost"),
    ("advice.detachedHead", "false"),
)
"""Wins over every configuration file. ``diff.external`` is absent: set empty it breaks diff; give
``--no-ext-diff --no-textconv`` instead."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TEMPLATE_DIR": "",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "GIT_SSH_COMMAND": "/bin/false",
    "GIT_EDITOR": "/bin/false",
    "GIT_PAGER": "cat",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_CEILING_DIRECTORIES": "/",
    "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}

EXTRA: Final = frozenset(
    {
        "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
        "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
        "GIT_INDEX_FILE",
    }
)  # fmt: skip
"""The only variables that a caller may add."""


def environment() -> dict[str, str]:
    """Return all that git gets besides PATH, here and in the sandboxes of an import."""
    made = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(CONFIGURATION))}
    for number, (key, value) in enumerate(CONFIGURATION):
        made[f"GIT_CONFIG_KEY_{number}"] = key
        made[f"GIT_CONFIG_VALUE_{number}"] = value
    return made


class Git:
    """Runs git on the daemon's own repositories."""

    def __init__(self, processes: ports.Processes, *, never: Sequence[pathlib.Path] = ()) -> None:
        """*never*: directories below which no repository is ever touched (``proposed/``)."""
        self._processes = processes
        self._never = tuple(path.resolve() for path in never)

    async def run(
        self,
        repository: pathlib.Path,
        *args: str,
        stdin: bytes | pathlib.Path = b"",
        ok: Collection[int] = (0,),
        lock_fd: int | None = None,
        work_tree: pathlib.Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        output_limit: int = OUTPUT_LIMIT,
    ) -> bytes:
        """Run ``git ARGS`` in *repository* and return its stdout.

        *repository* is the git directory itself (``x.git``, or ``meta/.git`` together with
        *work_tree*). A value that is not written in our source (a path, a ref, a sha) belongs on
        stdin or behind ``--end-of-options``. Whoever changes refs passes *lock_fd*, the held
        descriptor of the repository's lock file: a git that outlives us then keeps the lock.
        Fetches and pushes may name local repositories of ours only (protocol ``file``), with
        ``--no-tags --no-write-fetch-head`` and explicit refspecs.

        `HiveError` UNAVAILABLE, with git's own words escaped, when it ends with another code
        than *ok*, takes longer than *timeout* or says more than *output_limit* bytes.
        """
        result = await self.attempt(
            repository, *args, stdin=stdin, lock_fd=lock_fd, work_tree=work_tree, env=env,
            timeout=timeout, output_limit=output_limit,
        )  # fmt: skip
        if result.code not in ok:
            said = escapes.visible(result.stderr.strip() or b"nothing said", 400)
            raise errors.unavailable(
                f"cannot finish git {args[0]} in {repository.name}: code {result.code}: {said}"
            )
        return result.stdout

    async def attempt(
        self,
        repository: pathlib.Path,
        *args: str,
        stdin: bytes | pathlib.Path = b"",
        lock_fd: int | None = None,
        work_tree: pathlib.Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        output_limit: int = OUTPUT_LIMIT,
    ) -> ports.ProcessResult:
        """As `run`, for callers to whom several codes mean something. Escape its stderr."""
        await asyncio.to_thread(self._check, repository)
        if env is not None and not env.keys() <= EXTRA:
            raise ValueError(f"git gets no {', '.join(sorted(env.keys() - EXTRA))}")
        argv = ["git", "--no-replace-objects", "--no-optional-locks", f"--git-dir={repository}"]
        if work_tree is not None:
            argv.append(f"--work-tree={work_tree}")
        return await self._processes.run(
            [*argv, *args],
            env={**environment(), **(env or {})},
            stdin=stdin,
            cwd=work_tree or repository,
            timeout=timeout,
            output_limit=output_limit,
            pass_fds=[] if lock_fd is None else [lock_fd],
        )

    async def init(
        self, repository: pathlib.Path, *, work_tree: pathlib.Path | None = None
    ) -> None:
        """Make an empty repository, closed to others; one that exists is left as it is.

        Bare at *repository*, or with *work_tree*, whose ``.git`` is *repository*.
        """
        await asyncio.to_thread(_make_directory, repository)
        args = ["init", "--quiet", "--template="] + ([] if work_tree else ["--bare"])
        await self.run(repository, *args, work_tree=work_tree)

    def _check(self, repository: pathlib.Path) -> None:
        """Refuse a repository that somebody else could have written to."""
        what = f"cannot run git in {repository}"
        try:
            found = repository.lstat()
        except FileNotFoundError as error:
            raise errors.unavailable(f"{what}: it does not exist") from error
        if not stat.S_ISDIR(found.st_mode):
            raise errors.unavailable(f"{what}: it is no directory")
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise errors.unavailable(f"{what}: it does not belong to us alone")
        resolved = repository.resolve()
        if any(resolved.is_relative_to(place) for place in self._never):
            raise errors.unavailable(f"{what}: agents write there")


def sync_directories(repository: pathlib.Path) -> None:
    """Make names of new refs and packs durable: git syncs files, never directories. Blocks."""
    refs = repository / "refs"
    places = [repository, repository / "objects", repository / "objects" / "pack", refs]
    places += [path for path in refs.rglob("*") if path.is_dir()]
    for place in places:
        if not place.is_dir():
            continue
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _make_directory(path: pathlib.Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
