"""How the repositories of an agent begin: each is made aside and appears whole, by a rename.

A proposed repository belongs to the manager from the moment it appears: afterwards nothing of
ours opens it, runs git in it or writes to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import git_objects, refs, rules
from hyperhive.adapters.config_repo import locks as repository_locks
from hyperhive.domain import errors, ids

REMOTE_MAIN: Final = "refs/remotes/applied/main"


class Seeds:
    """Makes applied and proposed repositories below one home."""

    def __init__(
        self,
        home: pathlib.Path,
        git: git_program.Git,
        locks: repository_locks.Locks,
        clock: ports.Clock,
    ) -> None:
        self._home = home
        self._git = git
        self._locks = locks
        self._clock = clock

    async def make_applied(self, path: pathlib.Path, files: Mapping[str, bytes], lock: int) -> None:
        """Make the bare repository *path* with one commit: deployed/0 and main. Under its lock."""
        staging = path.with_name(f".new-{path.name}")
        await asyncio.to_thread(begin, staging, 0o700)
        await self._git.init(staging)
        made: dict[str, tuple[str, bytes]] = {}
        sha = git_objects.add_commit(made, files, (), self._clock.now(), rules.SEED_MESSAGE)
        repository = refs.Repository(self._git, staging)
        await self._git.run(
            staging, "index-pack", "--stdin", git_program.STRICT,
            stdin=git_objects.write_pack(made.values()), lock_fd=lock,
        )  # fmt: skip
        await repository.update(
            [refs.create(rules.TAGS + "deployed/0", sha), refs.create(rules.MAIN, sha)], lock
        )
        await asyncio.to_thread(appear, staging, path)

    async def make_proposed(
        self, applied: pathlib.Path, name: ids.AgentName, sha: str, owner_uid: int
    ) -> None:
        """Make ``proposed/<name>/config`` as a clone at *sha*, unless something is there."""
        place = self._home / "proposed" / name
        staging = self._home / "run" / "seed" / name
        async with self._locks.hold(f"proposed-{name}", staging) as lock:
            if await asyncio.to_thread(_is_taken, place.parent, name):
                return
            work_tree = staging / "config"
            await asyncio.to_thread(begin, staging, 0o700)
            await asyncio.to_thread(work_tree.mkdir, 0o755)
            directory = work_tree / ".git"
            await self._git.init(directory, work_tree=work_tree)
            await self._git.run(
                directory, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                "--end-of-options", str(applied),
                f"{rules.MAIN}:{REMOTE_MAIN}", "+refs/tags/*:refs/tags/*",
                work_tree=work_tree, lock_fd=lock,
            )  # fmt: skip
            repository = refs.Repository(self._git, directory)
            await repository.update([refs.create(rules.MAIN, sha)], lock)
            await self._git.run(
                directory, "read-tree", "-u", "--reset", sha, work_tree=work_tree, lock_fd=lock
            )
            await asyncio.to_thread(_hand_over, staging, place, owner_uid)


def begin(staging: pathlib.Path, mode: int) -> None:
    """Make an empty place of ours alone; what a death left there goes."""
    staging.parent.mkdir(mode=mode, parents=True, exist_ok=True)
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(mode=mode)


def appear(staging: pathlib.Path, path: pathlib.Path) -> None:
    """Give what lies at *staging* its name, once all of it is on the disk."""
    _sync_tree(staging)
    staging.rename(path)
    refs.sync(path.parent)


def _is_taken(proposed: pathlib.Path, name: str) -> bool:
    """Whether anything at all is called ``config`` there."""
    proposed.mkdir(mode=0o755, exist_ok=True)
    proposed.chmod(0o755)
    top = os.open(proposed, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        place = _open_place(top, name)
        try:
            os.stat("config", dir_fd=place, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(place)
    finally:
        os.close(top)
    return True


def _open_place(top: int, name: str) -> int:
    """Open ``proposed/<name>``, made if missing; as an ordinary user the manager could have put
    anything there, so no link is followed."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=top)
    try:
        place = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    except OSError as error:
        raise errors.unavailable(
            f"cannot make the proposed repository of {name}: proposed/{name} is no directory; "
            "move it away"
        ) from error
    os.fchmod(place, 0o755)
    return place


def _hand_over(staging: pathlib.Path, place: pathlib.Path, owner_uid: int) -> None:
    _sync_tree(staging)
    if os.geteuid() == 0:
        # Nobody else can reach the staging directory, so no name in it can be swapped.
        for top, directories, files in os.walk(staging / "config"):
            os.lchown(top, owner_uid, owner_uid)
            for name in (*directories, *files):
                os.lchown(os.path.join(top, name), owner_uid, owner_uid)  # noqa: PTH118
    top = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        inner = _open_place(top, place.name)
        try:
            os.rename(staging / "config", "config", dst_dir_fd=inner)
            os.fsync(inner)
        finally:
            os.close(inner)
        os.fsync(top)
    finally:
        os.close(top)
    shutil.rmtree(staging)


def _sync_tree(top: pathlib.Path) -> None:
    """Make everything below *top* durable before its name appears."""
    for here, _, files in os.walk(top):
        for name in (*files, "."):
            descriptor = os.open(pathlib.Path(here, name), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
