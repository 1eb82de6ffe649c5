"""A repository of the daemon's, as the mirror gets it."""

from __future__ import annotations

import pathlib

from hyperhive import ports
from rigs.forge.state import git

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class Source:
    """A bare repository with a main that grows and tags on it."""

    def __init__(self, path: pathlib.Path, name: str = "coder") -> None:
        self.path = path
        self.name = name
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", "--initial-branch=main")
        assert git(path, "mktree") == EMPTY_TREE

    def commit(self, text: str) -> str:
        """Advance main by one commit; its id."""
        parent = self.refs().get("refs/heads/main")
        made = git(
            self.path, "commit-tree", EMPTY_TREE, "-m", text, *(["-p", parent] if parent else [])
        )
        self.set("refs/heads/main", made)
        return made

    def set(self, ref: str, sha: str) -> None:
        git(self.path, "update-ref", ref, sha)

    def delete(self, ref: str) -> None:
        git(self.path, "update-ref", "-d", ref)

    def annotate(self, name: str, sha: str, message: str) -> None:
        git(self.path, "tag", "-f", "-a", name, "-m", message, sha)

    def tags(self, kind: str, count: int, sha: str) -> None:
        """Make tags ``kind/1`` to ``kind/count`` at once."""
        lines = [f"update refs/tags/{kind}/{number} {sha}\n" for number in range(1, count + 1)]
        git(self.path, "update-ref", "--stdin", stdin="".join(lines))

    def refs(self) -> dict[str, str]:
        listed = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ") for line in listed.splitlines())

    def target(self) -> ports.MirrorTarget:
        return ports.MirrorTarget(self.name, str(self.path), self.refs())
