"""Brings one commit of an agent's repository into one of ours, and pins it.

The sequence (docs/import.md): the requester's own sandbox makes a pack; it is written to a
file under a cap and a clock; git indexes it in a sandbox of nobody; we read every object,
compute its name anew and judge it; we write a second pack of exactly what the commit
reaches and the target lacks; our git indexes that; last, the tag is created, never moved.
Whatever goes wrong before leaves nothing but unreachable objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Callable
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import escapes, git, objects, policy, quarantine
from hyperhive.domain import errors, ids

Lock = Callable[[], contextlib.AbstractAsyncContextManager[int]]
"""Takes the target's lock and lends its descriptor."""

EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
LIMITS: Final = policy.Limits()


class Importer:
    """Imports one commit at a time, whoever asks."""

    def __init__(
        self,
        one_shots: ports.OneShots,
        own_git: git.Git,
        clock: ports.Clock,
        run_dir: pathlib.Path,
        limits: policy.Limits = LIMITS,
    ) -> None:
        """*run_dir* is ours alone and holds quarantines only: what is found there is removed."""
        self._one_shots = one_shots
        self._git = own_git
        self._clock = clock
        self._run_dir = run_dir
        self._limits = limits
        self._alone = asyncio.Lock()
        """No two imports share the machine's patience, or a throw-away uid."""

    async def bring(
        self,
        target: pathlib.Path,
        approval: ids.ApprovalId,
        commit_ref: str,
        produce: ports.Produce,
        lock: Lock,
    ) -> ports.Commit:
        """Pin the commit as ``refs/tags/proposal/<approval>`` in the bare repository *target*.

        The target is locked only while it is written to, not while foreign code runs. When the
        tag exists, its commit is returned and nothing is imported. `HiveError` INVALID names the
        rule, the place and the remedy; UNAVAILABLE: it took too long, or the host is unwell.
        """
        ref = ids.parse_commit_ref(commit_ref)
        tag = f"refs/tags/proposal/{approval:d}"
        pinned = await self._pinned(target, tag)
        if pinned is not None:
            return pinned
        async with self._alone:
            deadline = quarantine.Deadline(
                self._clock, self._clock.monotonic() + self._limits.seconds
            )
            async with quarantine.opened(
                self._run_dir, self._one_shots, ref, self._limits, deadline
            ) as place:
                sha = await place.receive(produce)
                await place.unpack()
                policy.judge_sizes(await place.sizes(), ref, self._limits)
                await place.read()
                with await asyncio.to_thread(_open, place.listed, ref) as found:
                    judge = policy.Judge(found, sha, ref, self._limits)
                    verdict = await asyncio.to_thread(judge.judge)
                    # What the target has was judged before, or made by us.
                    lacking = await self._lacking(target, verdict.reached)
                    await asyncio.to_thread(judge.find_secret, lacking)
                    await asyncio.to_thread(found.write_pack, lacking, place.rewritten)
                async with lock() as fd:
                    if lacking:
                        await self._index(target, place.rewritten, fd)
                    await self._create(target, tag, sha, fd)
                    await asyncio.to_thread(git.sync_directories, target)
        return verdict.commit

    async def _pinned(self, target: pathlib.Path, tag: str) -> ports.Commit | None:
        """The commit that the tag names; None when there is no such tag."""
        said = await self._git.run(
            target, "for-each-ref", "--format=%(objectname)", "--end-of-options", tag
        )
        sha = said.decode().strip()
        if not sha:
            return None
        content = await self._git.run(target, "cat-file", "commit", "--end-of-options", sha)
        return objects.parse_commit(sha, content)

    async def _lacking(self, target: pathlib.Path, names: tuple[str, ...]) -> list[str]:
        said = await self._git.run(
            target,
            "cat-file",
            "--buffer",
            "--batch-check=%(objectname) %(objecttype)",
            stdin="".join(f"{name}\n" for name in names).encode(),
        )
        return [
            line[:40]
            for line in said.decode().splitlines()
            # Every git knows the empty tree without having it; others would miss it.
            if line.endswith(" missing") or line.startswith(EMPTY_TREE)
        ]

    async def _index(self, target: pathlib.Path, pack: pathlib.Path, lock_fd: int) -> None:
        try:
            await self._git.run(
                target, "index-pack", "--stdin", git.STRICT, "--threads=1",
                stdin=pack, lock_fd=lock_fd,
            )  # fmt: skip
        finally:
            # A git that was stopped leaves them; the lock says that no other one writes here.
            await asyncio.to_thread(_sweep, target / "objects" / "pack")

    async def _create(self, target: pathlib.Path, tag: str, sha: str, lock_fd: int) -> None:
        order = f"start\ncreate {tag} {sha}\nprepare\ncommit\n"
        result = await self._git.attempt(
            target, "update-ref", "--stdin", stdin=order.encode(), lock_fd=lock_fd
        )
        if result.code == 0:
            return
        pinned = await self._pinned(target, tag)
        if pinned is None:
            said = escapes.visible(result.stderr.strip(), 300)
            raise errors.unavailable(f"cannot create {tag} in {target.name}: {said}")
        if pinned.sha != sha:
            raise errors.conflict(
                f"cannot pin {sha} as {tag}: it names {pinned.sha}; ask for a new approval"
            )


def _open(listed: pathlib.Path, ref: str) -> objects.Objects:
    try:
        return objects.Objects(listed)
    except objects.BrokenError as error:
        raise policy.refusal(ref, str(error), "", "make the commit with git itself") from error


def _sweep(packs: pathlib.Path) -> None:
    for path in packs.glob("tmp_*"):
        path.unlink(missing_ok=True)
