"""Refs and objects of one repository of ours, in as few git processes as can be.

Refs are created and compared-and-set by ``update-ref --stdin``. That is atomic against rivals
but not against a crash: names change in the order of the input. So tags stand first, main last.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import git_objects, rules
from hyperhive.domain import errors, ids

HEAD: Final = b"ref: refs/heads/main\n"
_PACKED_REF: Final = re.compile(rb"(?!0{40})[0-9a-f]{40} refs/[!-~]+\n")
_PACKED: Final = re.compile(rb"# pack-refs with:[a-z -]*\n|\^[0-9a-f]{40}\n|" + _PACKED_REF.pattern)
_LOOSE: Final = re.compile(rb"(?!0{40})[0-9a-f]{40}\s*|ref: refs/[^\0]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The refs of a repository by full name."""

    refs: Mapping[str, str]
    """What each points at, unpeeled."""
    commits: Mapping[str, str]
    """The commit that each names; empty where it names none, or one that is not there."""


class Repository:
    """One git directory of ours. Whoever writes holds its lock and gives its descriptor."""

    def __init__(self, git: git_program.Git, path: pathlib.Path) -> None:
        self._git = git
        self.path = path

    async def refs(self) -> dict[str, str]:
        """Return what each ref points at, unpeeled; broken ones are left out."""
        said = await self._git.run(self.path, "for-each-ref", "--format=%(objectname) %(refname)")
        rows = (line.partition(" ") for line in said.decode("utf-8", "replace").splitlines())
        return {ref: name for name, _, ref in rows}

    async def read(self) -> Found:
        """Return all refs and the commits that they name."""
        found = await self.refs()
        peeled = await self.peel(set(found.values()))
        return Found(found, {ref: peeled[name] for ref, name in found.items()})

    async def peel(self, names: Collection[str]) -> dict[str, str]:
        """Return the commit that each object is or names; empty where there is none."""
        order = sorted(names)
        if not order:
            return {}
        said = await self._git.run(
            self.path,
            "cat-file", "--batch-check=%(objectname)",
            stdin="".join(f"{name}^{{commit}}\n" for name in order).encode(),
            output_limit=256 * len(order),
        )  # fmt: skip
        lines = said.decode("ascii", "replace").splitlines()
        return {
            name: line if len(line) == len(name) else ""
            for name, line in zip(order, lines, strict=True)
        }

    async def descends(self, sha: str, ancestor: str | None) -> bool:
        """Whether *ancestor* is among what *sha* reaches; None, which is nothing yet, always is.

        A commit that is not there has no ancestors and no descendants.
        """
        if ancestor is None or sha == ancestor:
            return True
        if not sha or not ancestor or "" in (await self.peel({sha, ancestor})).values():
            return False
        result = await self._git.attempt(self.path, "merge-base", "--is-ancestor", ancestor, sha)
        if result.code not in (0, 1):
            raise errors.unavailable(
                f"cannot compare {ancestor[:12]} with {sha[:12]}: {self.path.name} is damaged; "
                "look at it with git fsck"
            )
        return result.code == 0

    async def check_commits(self, names: Iterable[str]) -> None:
        """NOT_FOUND unless each of *names* is the id of a commit here."""
        wanted = {ids.parse_sha(name) for name in names}
        for name, commit in (await self.peel(wanted)).items():
            if commit != name:
                raise errors.not_found(f"cannot use {name[:12]}: no such commit")

    async def objects(
        self, names: Sequence[str], *, limit: int = 16 * 1024**2
    ) -> dict[str, tuple[str, bytes]]:
        """Return kind and content of those of *names* that are there; *limit* bytes in all."""
        if not names:
            return {}
        said = await self._git.run(
            self.path,
            "cat-file", "--batch",
            stdin="".join(f"{ids.parse_sha(name)}\n" for name in names).encode(),
            output_limit=limit + 128 * len(names),
        )  # fmt: skip
        found: dict[str, tuple[str, bytes]] = {}
        at = 0
        while at < len(said):
            end = said.index(b"\n", at)
            name, kind, *size = said[at:end].decode("ascii").split()
            at = end + 1
            if size:
                length = int(size[0])
                found[name] = (kind, said[at : at + length])
                at += length + 1
        return found

    async def sizes(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Return kind and size of those of *names* that are there."""
        said = await self._git.run(
            self.path,
            "cat-file", "--batch-check",
            stdin="".join(f"{ids.parse_sha(name)}\n" for name in names).encode(),
            output_limit=128 * len(names) + 1,
        )  # fmt: skip
        rows = (line.split() for line in said.decode("ascii").splitlines())
        return {row[0]: (row[1], int(row[2])) for row in rows if len(row) == 3}

    async def commits(self, names: Sequence[str]) -> list[git_objects.CommitFields]:
        """Return what each of these commits says; NOT_FOUND names the first that is none."""
        found = await self.objects(list(dict.fromkeys(names)))
        made: list[git_objects.CommitFields] = []
        for name in names:
            kind, body = found.get(name, ("", b""))
            if kind != "commit":
                raise errors.not_found(f"cannot show {name[:12]}: no such commit")
            made.append(git_objects.read_commit(body))
        return made

    async def files(self, commit: str) -> list[ports.TreeFile]:
        """Return every file of a commit, by path."""
        said = await self._git.run(
            self.path, "ls-tree", "-r", "-z", "-l", "--full-tree", ids.parse_sha(commit)
        )
        found: list[ports.TreeFile] = []
        for row in said.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            facts, _, path = row.partition("\t")
            mode, _, blob, size = facts.split()
            found.append(ports.TreeFile(path, mode, blob, 0 if size == "-" else int(size)))
        return sorted(found, key=lambda file: file.path)

    async def add(self, objects: Sequence[tuple[str, bytes]], lock_fd: int) -> None:
        """Write loose objects, durably."""
        if objects:
            pack = git_objects.write_pack(objects)
            await self._git.run(
                self.path, "unpack-objects", "-q", "--strict", stdin=pack, lock_fd=lock_fd
            )
            names = {git_objects.object_id(*each)[:2] for each in objects}
            sync(self.path / "objects", *(self.path / "objects" / name for name in names))

    async def update(self, orders: Sequence[str], lock_fd: int) -> None:
        """Run lines of ``update-ref --stdin``, in their order, durably."""
        if not orders:
            return
        stdin = "".join(f"{order}\n" for order in orders).encode()
        await self._git.run(self.path, "update-ref", "--stdin", stdin=stdin, lock_fd=lock_fd)
        places = {(self.path / order.split()[1]).parent for order in orders}
        refs = self.path / "refs"
        sync(refs, refs / "tags", *(place for place in places if place.is_dir()))


def create(ref: str, sha: str) -> str:
    """The order to make a ref; fails when there is one."""
    return f"create {ref} {sha}"


def move(ref: str, sha: str, old: str | None) -> str:
    """The order to set a ref that was at *old* (None: that was not there)."""
    return create(ref, sha) if old is None else f"update {ref} {sha} {old}"


def tag_objects(
    tags: Sequence[ports.Tag], clock: ports.Clock
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """The tag objects that *tags* need, and the orders that create them all."""
    made: list[tuple[str, bytes]] = []
    orders: list[str] = []
    for tag in tags:
        target, message = tag.sha, rules.tag_message(tag)
        if message:
            made.append(("tag", git_objects.tag_body(tag.name, tag.sha, clock.now(), message)))
            target = git_objects.object_id(*made[-1])
        orders.append(create(rules.TAGS + tag.name, target))
    return made, orders


def mend(repository: pathlib.Path) -> None:
    """Remove refs that are no refs (a lost write leaves them empty), and set HEAD right. Blocks.

    Only under the lock. One broken line of ``packed-refs`` would hold up every git. What is
    missing then is made again by who knows what it was.
    """
    packed = repository / "packed-refs"
    if packed.is_file():
        lines = packed.read_bytes().splitlines(keepends=True)
        if not all(_PACKED.fullmatch(line) for line in lines):
            # Without its first line, which would promise that all is sorted and peeled.
            _put(packed, b"".join(line for line in lines if _PACKED_REF.fullmatch(line)))
    head = repository / "HEAD"
    if not head.is_file() or head.read_bytes() != HEAD:
        _put(head, HEAD)
    for top, _, files in os.walk(repository / "refs"):
        for name in files:
            path = pathlib.Path(top, name)
            with path.open("rb") as stream:
                content = stream.read(4096)
            if _LOOSE.fullmatch(content) is None:
                path.unlink()


def _put(path: pathlib.Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.lock")
    fresh.write_bytes(content)
    fresh.rename(path)


def sync(*directories: pathlib.Path) -> None:
    """Make new names in *directories* durable; git syncs files only. Blocks, shortly."""
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
