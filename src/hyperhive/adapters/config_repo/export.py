"""The read-only copies that the manager's sandbox sees as ``/applied`` and ``/meta``.

Never the repositories themselves: what is shown are refs and objects that we fetched into
repositories of their own, readable by everybody and written by us alone. All of it can be
made again at any time; a copy that is broken is.

The remote ``applied`` of a proposed repository is configured by files here, which the
sandbox's own ``/etc/gitconfig`` includes (`agent_home`): nothing is written into what the
manager owns.
"""

from __future__ import annotations

import asyncio
import pathlib
import secrets
import shutil
from collections.abc import Sequence
from typing import Final

from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import locks as repository_locks
from hyperhive.adapters.config_repo import refs, rules
from hyperhive.domain import errors, ids

APPLIED_IN_SANDBOX: Final = "/applied"
META_IN_SANDBOX: Final = "/meta"
PROPOSED_IN_SANDBOX: Final = "/agents"
_SHOWN: Final = ("refs/heads/", "refs/tags/")
OWNER: Final = "hive-agent"
"""A file of a copy: the id of the agent whose it is. A name may come back, an id never."""


class Export:
    """Keeps the copies below ``<home>/export``."""

    def __init__(
        self, home: pathlib.Path, git: git_program.Git, locks: repository_locks.Locks
    ) -> None:
        self._top = home / "export"
        self._meta = home / "meta" / ".git"
        self._git = git
        self._locks = locks
        self._alone = asyncio.Lock()
        self._shown: dict[ids.AgentName, ids.AgentId] = {}
        """Copies that are known to be up to date."""
        self._meta_shown = ""
        """The commit of meta whose files are known to be there."""

    def mark(self, agent: ids.AgentId) -> None:
        """Note that the repository of *agent* may have changed."""
        for name in [name for name, owner in self._shown.items() if owner == agent]:
            del self._shown[name]

    async def publish(
        self, agents: Sequence[tuple[ids.AgentId, ids.AgentName, pathlib.Path]]
    ) -> None:
        """Make the copies those of exactly these repositories, and of meta."""
        async with self._alone:
            applied = self._top / "applied"
            await asyncio.to_thread(_make_open, self._top, applied, self._top / "meta")
            for agent, name, source in agents:
                if self._shown.get(name) != agent:
                    self._shown[name] = agent
                    try:
                        await self._copy(agent, source, applied / f"{name}.git")
                    except BaseException:
                        self.mark(agent)
                        raise
            names = [name for _, name, _ in agents]
            for name in self._shown.keys() - names:
                del self._shown[name]
            await asyncio.to_thread(_configure, applied, sorted(names))
            await self._copy_meta()

    async def _copy(self, agent: ids.AgentId, source: pathlib.Path, copy: pathlib.Path) -> None:
        await asyncio.to_thread(_drop_of_another, copy, agent)
        try:
            await self._fetch(agent, source, copy)
        except errors.HiveError:
            # A copy that a crash or a hand has broken is worth nothing; the second try tells.
            await asyncio.to_thread(_drop, copy)
            await self._fetch(agent, source, copy)

    async def _fetch(self, agent: ids.AgentId, source: pathlib.Path, copy: pathlib.Path) -> None:
        async with self._locks.hold(f"export-{copy.name}", copy) as lock:
            if not await asyncio.to_thread(copy.is_dir):
                staging = self._top / f".new-{copy.name}"
                await asyncio.to_thread(_drop, staging)
                await self._git.init(staging)
                await self._open_to_all(staging, lock)
                (staging / OWNER).write_text(f"{agent}\n", encoding="ascii")
                await asyncio.to_thread(_make_readable, staging)
                staging.rename(copy)
            await asyncio.to_thread(refs.mend, copy)
            await self._bring(source, copy, lock, "+refs/tags/*:refs/tags/*")

    async def _bring(
        self, source: pathlib.Path, copy: pathlib.Path, lock: int, *specs: str
    ) -> None:
        theirs = await refs.Repository(self._git, source).refs()
        ours = await refs.Repository(self._git, copy).refs()
        if {ref: name for ref, name in theirs.items() if ref.startswith(_SHOWN)} == ours:
            return
        await self._git.run(
            copy, "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head",
            "--update-head-ok", "--end-of-options", str(source),
            "+refs/heads/*:refs/heads/*", *specs,
            lock_fd=lock,
        )  # fmt: skip

    async def _open_to_all(self, repository: pathlib.Path, lock: int) -> None:
        """Let git make files that everybody may read, whatever the umask (git-config(1))."""
        await self._git.run(repository, "config", "core.sharedRepository", "0644", lock_fd=lock)

    async def _copy_meta(self) -> None:
        if not self._meta.is_dir():
            return
        work_tree = self._top / "meta"
        copy = work_tree / ".git"
        async with self._locks.hold("export-meta", copy) as lock:
            if not (copy / OWNER).is_file():
                await asyncio.to_thread(_drop, copy)
                await self._git.init(copy, work_tree=work_tree)
                await self._open_to_all(copy, lock)
                await asyncio.to_thread(_make_readable, copy)
                # The last of it: without it the copy is made anew.
                await asyncio.to_thread(_replace, copy / OWNER, b"meta\n", self._top)
            await asyncio.to_thread(refs.mend, copy)
            await self._bring(self._meta, copy, lock)
            await self._write_files(copy, work_tree, lock)

    async def _write_files(self, copy: pathlib.Path, work_tree: pathlib.Path, lock: int) -> None:
        """Bring the files to what main says, each by a rename: no reader sees half of one."""
        repository = refs.Repository(self._git, copy)
        main = (await repository.refs()).get(rules.MAIN)
        if not main or main == self._meta_shown:
            return
        files = await repository.files(main)
        contents = await repository.objects(sorted({file.blob for file in files}))
        await asyncio.to_thread(
            _replace_files, work_tree, {file.path: contents[file.blob][1] for file in files}
        )
        await self._git.run(copy, "read-tree", "--reset", main, work_tree=work_tree, lock_fd=lock)
        self._meta_shown = main


def _make_open(*directories: pathlib.Path) -> None:
    for directory in directories:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.chmod(0o755)


def _make_readable(top: pathlib.Path) -> None:
    top.chmod(0o755)
    for path in top.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _drop(path: pathlib.Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _drop_of_another(copy: pathlib.Path, agent: ids.AgentId) -> None:
    owner = copy / OWNER
    if copy.exists() and (not owner.is_file() or owner.read_bytes() != f"{agent}\n".encode()):
        shutil.rmtree(copy)


def _configure(applied: pathlib.Path, names: Sequence[str]) -> None:
    """Write the configuration of the sandboxes' git, and remove what belongs to nobody."""
    wanted = {"gitconfig": _shared(names)}
    wanted |= {f"{name}.gitconfig": _remote(name) for name in names}
    for name, text in wanted.items():
        _replace(applied / name, text.encode())
    kept = wanted.keys() | {f"{name}.git" for name in names}
    for path in applied.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _shared(names: Sequence[str]) -> str:
    """The sandboxes own the proposed repositories only; git has to be told of the others."""
    trusted = [META_IN_SANDBOX]
    for name in names:
        trusted += [f"{APPLIED_IN_SANDBOX}/{name}.git", f"{PROPOSED_IN_SANDBOX}/{name}/config"]
    lines = ["# Written by the hive.", "[safe]", *(f"\tdirectory = {path}" for path in trusted)]
    for name in names:
        lines += [
            f'[includeIf "gitdir:{PROPOSED_IN_SANDBOX}/{name}/config/"]',
            f"\tpath = {APPLIED_IN_SANDBOX}/{name}.gitconfig",
        ]
    return "\n".join(lines) + "\n"


def _remote(name: str) -> str:
    return (
        "# Written by the hive.\n"
        '[remote "applied"]\n'
        f"\turl = {APPLIED_IN_SANDBOX}/{name}.git\n"
        f"\tpushurl = {APPLIED_IN_SANDBOX}/is-read-only--use-request_apply_commit\n"
        "\tfetch = +refs/heads/*:refs/remotes/applied/*\n"
        "\tfetch = +refs/tags/*:refs/tags/*\n"
        "\ttagOpt = --no-tags\n"
        # What `git status` compares with, and `git pull` takes from.
        '[branch "main"]\n'
        "\tremote = applied\n"
        "\tmerge = refs/heads/main\n"
    )


def _replace(path: pathlib.Path, content: bytes, staging: pathlib.Path | None = None) -> None:
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        return
    fresh = (staging or path.parent.parent) / f".new-{secrets.token_hex(4)}"
    fresh.write_bytes(content)
    fresh.chmod(0o644)
    fresh.rename(path)


def _replace_files(work_tree: pathlib.Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = work_tree / name
        for parent in reversed(path.relative_to(work_tree).parents):
            _make_open(work_tree / parent)
        _replace(path, content, work_tree.parent)
    for path in sorted(work_tree.rglob("*"), reverse=True):
        name = path.relative_to(work_tree)
        if name.parts[0] == ".git" or str(name) in files:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        else:
            path.unlink()
