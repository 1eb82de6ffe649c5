"""Meta: the one repository that pins, per agent, exactly what is deployed (S41).

A work tree of ours alone with ``hive.lock``. A deploy is staged, then committed with a trailer
by which it is found again, so that its log has each successful deploy once. All work is
serialised by one lock; every call begins from what is committed, so what an earlier one left
in the index or the files does not matter. But what was staged whole is committed as it was:
it is what was built.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pathlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import git_objects, hive_lock, refs, rules
from hyperhive.adapters.config_repo import locks as repository_locks
from hyperhive.domain import errors, ids

Render = Callable[[Sequence[ports.MetaEntry]], Mapping[str, bytes]]
"""Further files of meta for exactly these agents, by path; the same for the same agents."""
Relock = Callable[[pathlib.Path, Collection[ids.AgentId]], Awaitable[Collection[str]]]
"""Runs in the work tree when the files stand there and in the index, and writes more of them
(a lock file); returns their paths. The agents are those whose entries changed."""

_NEWEST: Final = "refs/hive/newest"
"""Where main is going; set before it, and never shown."""
_ADDED: Final = ("update-index", "--add", "--remove", "-z", "--stdin")


def render_nothing(entries: Sequence[ports.MetaEntry]) -> Mapping[str, bytes]:
    """Add no files."""
    return {}


async def relock_nothing(
    work_tree: pathlib.Path, changed: Collection[ids.AgentId]
) -> Collection[str]:
    """Write no files."""
    return ()


class MetaRepo:
    """`ports.Meta` on this host: ``<home>/meta``."""

    def __init__(
        self,
        home: pathlib.Path,
        *,
        git: git_program.Git,
        locks: repository_locks.Locks,
        clock: ports.Clock,
        render: Render = render_nothing,
        relock: Relock = relock_nothing,
    ) -> None:
        self._work_tree = home / "meta"
        self._path = self._work_tree / ".git"
        self._git = git
        self._locks = locks
        self._clock = clock
        self._render = render
        self._relock = relock
        self._repository = refs.Repository(git, self._path)
        self._staged = self._path / "hive-staged"
        """What `prepare` staged whole: `_staging`. Never of more than one deploy."""

    async def sync(self, entries: Sequence[ports.MetaEntry], message: str) -> str | None:
        """See `ports.Meta`."""
        async with self._writing() as (lock, main):
            before = await self._entries(main)
            tree = await self._stage(entries, before, main, lock)
            if main is not None and (await self._repository.commits([main]))[0].tree == tree:
                return None
            return await self._commit(tree, main, message, lock)

    async def prepare(self, entry: ports.MetaEntry) -> None:
        """See `ports.Meta`."""
        async with self._writing() as (lock, main):
            before = await self._entries(main)
            entries = hive_lock.replace(before, entry)
            tree = await self._stage(entries, before, main, lock)
            await asyncio.to_thread(self._staged.write_text, _staging(entries, main, tree))

    async def finalize(self, entry: ports.MetaEntry, approval: ids.ApprovalId, message: str) -> str:
        """See `ports.Meta`. Needs no `prepare`: what that staged is rendered again."""
        async with self._writing() as (lock, main):
            done = await self._find_deploy(approval)
            if done is not None:
                await self._restore(main, lock)
                return done
            before = await self._entries(main)
            entries = hive_lock.replace(before, entry)
            tree = await self._find_staged(entries, main)
            if tree is None:
                tree = await self._stage(entries, before, main, lock)
            text = hive_lock.deploy_message(message, approval)
            made = await self._commit(tree, main, text, lock)
            await self._restore(made, lock)
            return made

    async def abort(self) -> None:
        """See `ports.Meta`."""
        async with self._writing() as (lock, main):
            await self._restore(main, lock)

    async def log(self, *, limit: int = 200) -> list[ports.Commit]:
        """See `ports.Meta`; the newest first."""
        if not self._path.is_dir() or await self._main() is None:
            return []
        said = await self._git.run(
            self._path, "rev-list", f"--max-count={limit:d}", rules.MAIN, "--"
        )
        names = said.decode("ascii").split()
        fields = await self._repository.commits(names)
        return [rules.commit(name, each) for name, each in zip(names, fields, strict=True)]

    async def refs(self) -> dict[str, str]:
        """See `ports.Meta`."""
        if not self._path.is_dir():
            return {}
        found = sorted((await self._repository.refs()).items())
        return {ref: name for ref, name in found if ref != _NEWEST}

    def repository(self) -> str:
        """See `ports.Meta`."""
        return str(self._path)

    # --- parts --------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[int, str | None]]:
        """Hold the lock; lend its descriptor and the commit that main is at."""
        async with self._locks.hold("meta", self._path) as lock:
            await asyncio.to_thread(_make, self._work_tree)
            if not (self._path / "HEAD").is_file() or not (self._path / "refs").is_dir():
                await self._git.init(self._path, work_tree=self._work_tree)
            await asyncio.to_thread(refs.mend, self._path)
            yield lock, await self._settle(lock)

    async def _settle(self, lock: int) -> str | None:
        """Bring main to the newest commit that was made, and return it.

        Nobody else knows meta's log, so a main that is lost must not begin a new one.
        """
        found = await self._repository.read()
        main, newest = found.commits.get(rules.MAIN), found.commits.get(_NEWEST)
        if newest and newest != main:
            await self._repository.update(
                [refs.move(rules.MAIN, newest, found.refs.get(rules.MAIN))], lock
            )
            return newest
        if main == "":
            raise errors.unavailable(
                "cannot go on with meta: the commit of its main is lost; fetch it back from "
                "export/meta or from the mirror"
            )
        return main

    async def _main(self) -> str | None:
        return (await self._repository.refs()).get(rules.MAIN)

    async def _entries(self, main: str | None) -> dict[ids.AgentId, ports.MetaEntry]:
        if main is None:
            return {}
        for file in await self._repository.files(main):
            if file.path == hive_lock.FILE_NAME:
                found = await self._repository.objects([file.blob])
                return hive_lock.parse(found[file.blob][1])
        return {}

    async def _stage(
        self,
        entries: Sequence[ports.MetaEntry],
        before: Mapping[ids.AgentId, ports.MetaEntry],
        main: str | None,
        lock: int,
    ) -> str:
        """Put the files for *entries* into the work tree and the index; return their tree."""
        files = {**self._render(entries), hive_lock.FILE_NAME: hive_lock.render(entries)}
        old = [file.path for file in await self._repository.files(main)] if main else []
        await self._restore(main, lock)
        await asyncio.to_thread(_write, self._work_tree, files)
        await self._add(files, lock)
        after = {entry.agent: entry for entry in entries}
        changed = {
            agent for agent in before.keys() | after.keys() if before.get(agent) != after.get(agent)
        }
        more = await self._relock(self._work_tree, changed)
        gone = [path for path in old if path not in files and path not in more]
        await asyncio.to_thread(_remove, self._work_tree, gone)
        await self._add([*more, *gone], lock)
        tree = await self._git.run(
            self._path, "write-tree", work_tree=self._work_tree, lock_fd=lock
        )
        return tree.decode("ascii").strip()

    async def _find_staged(
        self, entries: Sequence[ports.MetaEntry], main: str | None
    ) -> str | None:
        """The tree that `prepare` has staged for exactly *entries* on top of *main*."""
        try:
            content = await asyncio.to_thread(self._staged.read_text, "ascii", "replace")
        except FileNotFoundError:
            return None
        tree = content.rpartition("\n")[2]
        if content != _staging(entries, main, tree):
            return None
        found = await self._repository.sizes([tree])
        return tree if found.get(tree, ("",))[0] == "tree" else None

    async def _add(self, paths: Collection[str], lock: int) -> None:
        if paths:
            stdin = "".join(f"{path}\0" for path in sorted(paths)).encode()
            await self._git.run(
                self._path, *_ADDED, stdin=stdin, work_tree=self._work_tree, lock_fd=lock
            )

    async def _commit(self, tree: str, main: str | None, message: str, lock: int) -> str:
        parents = [] if main is None else [main]
        body = git_objects.commit_body(tree, parents, self._clock.now(), message)
        await self._repository.add([("commit", body)], lock)
        sha = git_objects.object_id("commit", body)
        newest = (await self._repository.refs()).get(_NEWEST)
        await self._repository.update(
            [refs.move(_NEWEST, sha, newest), refs.move(rules.MAIN, sha, main)], lock
        )
        return sha

    async def _restore(self, main: str | None, lock: int) -> None:
        """Make index and files those of *main*; nothing is staged then."""
        await asyncio.to_thread(self._staged.unlink, missing_ok=True)
        args = ["--empty"] if main is None else ["-u", "--reset", main]
        await self._git.run(self._path, "read-tree", *args, work_tree=self._work_tree, lock_fd=lock)

    async def _find_deploy(self, approval: int) -> str | None:
        if await self._main() is None:
            return None
        said = await self._git.run(
            self._path,
            "rev-list", "--extended-regexp", f"--grep=^{hive_lock.TRAILER}: {approval:d}$",
            rules.MAIN, "--",
        )  # fmt: skip
        names = said.decode("ascii").split()
        for name, fields in zip(names, await self._repository.commits(names), strict=True):
            # The words may stand elsewhere in a message, too.
            if hive_lock.deploy_of(fields.message) == approval:
                return name
        return None


def _staging(entries: Sequence[ports.MetaEntry], main: str | None, tree: str) -> str:
    """What was staged, for whom, on top of what."""
    digest = hashlib.sha256(hive_lock.render(entries)).hexdigest()
    return f"{digest}\n{main or ''}\n{tree}"


def _make(work_tree: pathlib.Path) -> None:
    work_tree.mkdir(mode=0o700, exist_ok=True)
    work_tree.chmod(0o700)


def _write(work_tree: pathlib.Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        git_objects.check_path(name)
        path = work_tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = work_tree / ".git" / f"tmp_{secrets.token_hex(4)}"
        fresh.write_bytes(content)
        fresh.rename(path)


def _remove(work_tree: pathlib.Path, paths: Sequence[str]) -> None:
    for name in paths:
        (work_tree / name).unlink(missing_ok=True)
