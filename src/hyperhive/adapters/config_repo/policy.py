"""What a commit must be to become a proposal. Everything that it reaches is judged.

Kinds, sizes and counts hold for the whole history, because all of it is kept and mirrored;
names hold for the proposed tree, because only that becomes files. Nothing here runs git: the
objects have been read and named by us.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import escapes, paths, secret_patterns
from hyperhive.adapters.config_repo import objects as read
from hyperhive.domain import errors

DIRECTORY: Final = "40000"
FILES: Final = frozenset({"100644", "100755"})
_OTHER: Final = {"120000": "a symbolic link", "160000": "a submodule", "100664": "an old file mode"}


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one import."""

    seconds: float = 20.0
    """From the first byte to the verdict."""
    pack_bytes: int = 32 * 1024**2
    objects: int = 20_000
    all_bytes: int = 64 * 1024**2
    """Sum of the sizes of all objects, unpacked."""
    commits: int = 2_000
    commit_bytes: int = 64 * 1024
    message_bytes: int = 4 * 1024
    """Of the proposed commit, which an operator reads."""
    tree_bytes: int = 2 * 1024**2
    blob_bytes: int = 1024**2
    entries: int = 5_000
    """Files and directories of the proposed tree."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A commit that may become a proposal, and the names of all that it reaches."""

    commit: ports.Commit
    reached: tuple[str, ...]


def refusal(ref: str, rule: str, where: str, remedy: str) -> errors.HiveError:
    """Build the INVALID refusal of the commit *ref*; *where* is escaped already."""
    place = f" ({where})" if where else ""
    return errors.invalid(f"cannot import {ref}: {rule}{place}; {remedy}")


def judge_sizes(sizes: Collection[tuple[str, str, int]], ref: str, limits: Limits) -> None:
    """Refuse a pack for what ``cat-file --batch-check`` says about it, before any content is read.

    Each of *sizes* is name, kind and size. Believed only as far as refusing goes.
    """
    if len(sizes) > limits.objects:
        raise refusal(
            ref, f"the history has more than {limits.objects} objects", "", "propose a shorter one"
        )
    if sum(size for _, _, size in sizes) > limits.all_bytes:
        raise refusal(
            ref,
            f"the history has more than {limits.all_bytes} bytes unpacked",
            "",
            "remove large files from all of its commits",
        )
    ceilings = {
        "commit": limits.commit_bytes,
        "tree": limits.tree_bytes,
        "blob": limits.blob_bytes,
        "tag": limits.commit_bytes,
    }
    for name, kind, size in sizes:
        if size > ceilings.get(kind, 0):
            raise refusal(
                ref,
                f"a {kind} has {size} bytes, more than {ceilings.get(kind, 0)}",
                f"object {name}",
                "remove it from all commits (git log --find-object finds it)",
            )


class Judge:
    """Walks everything that one commit reaches."""

    def __init__(self, objects: read.Objects, sha: str, ref: str, limits: Limits) -> None:
        self._objects = objects
        self._sha = sha
        self._ref = ref
        self._limits = limits
        self._reached: dict[str, tuple[str, bytes]] = {}
        """Object to the tree (or commit) that it was first found in, and its name there."""

    def judge(self) -> Verdict:
        """Return the verdict, or raise `HiveError` INVALID with rule, place and remedy."""
        try:
            sizes = [(name, f.kind, f.size) for name, f in self._objects.found.items()]
            judge_sizes(sizes, self._ref, self._limits)
            self._expect(self._sha, "commit", self._ref)
            commit = self._walk_commits()
            self._walk_proposed(commit.tree)
        except read.BrokenError as error:
            raise refusal(self._ref, str(error), "", "make the commit with git itself") from error
        return Verdict(commit, tuple(self._reached))

    def find_secret(self, names: Collection[str]) -> None:
        """Refuse when one of the reached objects *names* holds what looks like a secret."""
        for name in names:
            kind = self._objects.found[name].kind
            if kind == "tree":
                continue
            secret = secret_patterns.find(self._objects.read(name))
            if secret is None:
                continue
            where = self._place(name) if kind == "blob" else f"message of commit {name}"
            raise refusal(
                self._ref,
                f"there is {secret} in it",
                where,
                "take it out of every commit that has it, for proposals are kept, shown and "
                "mirrored (a secret is given by name), and let a human replace it: it has "
                "been seen",
            )

    def _walk_commits(self) -> ports.Commit:
        waiting, proposed = [self._sha], None
        self._reached[self._sha] = ("", b"")
        commits = 0
        while waiting:
            sha = waiting.pop()
            commits += 1
            if commits > self._limits.commits:
                raise refusal(
                    self._ref,
                    f"the history has more than {self._limits.commits} commits",
                    "",
                    "squash it",
                )
            commit = read.parse_commit(sha, self._objects.read(sha))
            if proposed is None:
                proposed = commit
                self._judge_message(commit)
            self._expect(commit.tree, "tree", sha)
            self._walk_trees(commit.tree, sha)
            for parent in commit.parents:
                self._expect(parent, "commit", sha)
                if parent not in self._reached:
                    self._reached[parent] = (sha, b"")
                    waiting.append(parent)
        assert proposed is not None
        return proposed

    def _judge_message(self, commit: ports.Commit) -> None:
        if len(commit.message.encode()) > self._limits.message_bytes:
            raise refusal(
                self._ref,
                f"the commit message has more than {self._limits.message_bytes} bytes",
                "",
                "shorten it",
            )

    def _walk_trees(self, root: str, commit: str) -> None:
        """Look at every tree once: of what kind is what it holds."""
        if root in self._reached:
            return
        self._reached[root] = (commit, b"")
        waiting = [root]
        while waiting:
            tree = waiting.pop()
            for entry in read.parse_tree(self._objects.read(tree)):
                kind = self._kind(tree, entry)
                self._expect(entry.sha, kind, tree, entry.name)
                if entry.sha in self._reached:
                    continue
                self._reached[entry.sha] = (tree, entry.name)
                if kind == "tree":
                    waiting.append(entry.sha)

    def _kind(self, tree: str, entry: read.Entry) -> str:
        if entry.mode == DIRECTORY:
            return "tree"
        if entry.mode in FILES:
            return "blob"
        what = _OTHER.get(entry.mode, "a mode that git does not write")
        raise refusal(
            self._ref,
            f"mode {entry.mode} is {what}; only files (100644, 100755) and directories are allowed",
            self._place(tree, entry.name),
            "put plain files in its place, in every commit of the history",
        )

    def _walk_proposed(self, root: str) -> None:
        """Look at every path of the proposed tree, and stop where there are too many."""
        waiting: list[tuple[str, str, int]] = [(root, "", 1)]
        folded: dict[str, str] = {}
        while waiting:
            tree, above, depth = waiting.pop()
            entries = read.parse_tree(self._objects.read(tree))
            if above and not entries:
                raise self._bad_path("a directory is empty", above, "remove it")
            for entry in entries:
                offence = paths.judge_name(entry.name)
                if offence is not None:
                    shown = entry.name.decode("utf-8", "surrogateescape")
                    raise self._bad_path(offence.rule, above + shown, offence.remedy)
                path = above + entry.name.decode("utf-8")
                if len(path.encode()) > paths.PATH_BYTES:
                    rule = f"a path has more than {paths.PATH_BYTES} bytes"
                    raise self._bad_path(rule, path, "use shorter names")
                if depth > paths.DEPTH:
                    rule = f"a path is deeper than {paths.DEPTH} levels"
                    raise self._bad_path(rule, path, "use fewer directories")
                other = folded.setdefault(paths.fold(path), path)
                if other is not path:
                    rule = f"some file systems take it for the same as {escapes.visible(other)}"
                    raise self._bad_path(rule, path, "rename one of them")
                if len(folded) > self._limits.entries:
                    rule = f"there are more than {self._limits.entries} files and directories"
                    raise refusal(self._ref, rule, "", "propose fewer")
                if entry.mode == DIRECTORY:
                    waiting.append((entry.sha, f"{path}/", depth + 1))

    def _bad_path(self, rule: str, path: str, remedy: str) -> errors.HiveError:
        return refusal(self._ref, rule, f"path {escapes.visible(path)}", remedy)

    def _expect(self, sha: str, kind: str, above: str, name: bytes = b"") -> None:
        """Refuse unless *sha*, which *above* names, is there and of that kind."""
        found = self._objects.found.get(sha)
        if found is not None and found.kind == kind:
            return
        where = self._place(above, name) if name else f"named by {above}"
        if found is None:
            rule, remedy = f"the {kind} {sha} is missing", "look at the repository with git fsck"
        else:
            rule, remedy = f"{sha} is a {found.kind}, not a {kind}", "name a commit by its id"
        raise refusal(self._ref, rule, where, remedy)

    def _place(self, sha: str, name: bytes = b"") -> str:
        """Return the path by which *sha* was first found, and below it *name*; escaped."""
        parts = [name] if name else []
        while len(parts) <= paths.DEPTH and (above := self._reached.get(sha)) and above[1]:
            parts.append(above[1])
            sha = above[0]
        place = f"path {escapes.visible(b'/'.join(reversed(parts)))}"
        while (above := self._reached.get(sha)) and above[1]:
            sha = above[0]
        commit = above[0] if above else ""
        return place if commit in ("", self._sha) else f"{place} in commit {commit}"
