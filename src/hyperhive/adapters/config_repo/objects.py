"""Git objects that somebody else handed over: each is what its name says, or it is refused.

Reads what ``git cat-file --batch`` printed in a sandbox and computes every name anew, so
that nothing said about a commit rests on the honesty of that sandbox. Formats:
gitformat-pack(5), git-cat-file(1), git-mktree(1).
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import pathlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from hyperhive import ports

_KINDS: Final = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_HEADER: Final = re.compile(rb"([0-9a-f]{40}) (commit|tree|blob|tag) ([0-9]{1,10})\n")
_ENTRY: Final = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)
_SHA: Final = re.compile(r"[0-9a-f]{40}")
_PERSON: Final = re.compile(r"(.*) (-?[0-9]{1,12}) [+-][0-9]{4}", re.DOTALL)
_LATEST: Final = 4_102_444_800
"""The year 2100: a later time is an error or a trick, and calendars end at 9999."""
_PIECE: Final = 256 * 1024


class BrokenError(ValueError):
    """What should be an object is none. The text names no content."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree, as it stands there: nothing is checked."""

    mode: str
    name: bytes
    sha: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """Kind and size of an object, and where its content begins."""

    kind: str
    size: int
    offset: int


class Objects:
    """The objects of one ``cat-file --batch`` output. Blocks: use it in a thread."""

    def __init__(self, path: pathlib.Path) -> None:
        """Read all of the file once; `BrokenError` when an object is not what its name says."""
        self.found: dict[str, Found] = {}
        # Open for `read` until the caller leaves the context.
        self._stream = path.open("rb")
        try:
            self._scan(self._stream)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _scan(self, stream: BinaryIO) -> None:
        while line := stream.readline(80):
            header = _HEADER.fullmatch(line)
            if header is None:
                raise BrokenError("git listed something that is no object")
            name, kind, size = header[1].decode(), header[2], int(header[3])
            offset = stream.tell()
            if _name(kind, _pieces(stream, size), size) != name:
                raise BrokenError(f"object {name} has another content than its name says")
            if stream.read(1) != b"\n":
                raise BrokenError(f"object {name} has no end")
            self.found[name] = Found(kind.decode(), size, offset)

    def read(self, sha: str) -> bytes:
        """Return the content of an object that was found."""
        found = self.found[sha]
        self._stream.seek(found.offset)
        return b"".join(_pieces(self._stream, found.size))

    def write_pack(self, names: Iterable[str], path: pathlib.Path) -> None:
        """Write a pack of exactly these objects, whole, without deltas, to a new file."""
        wanted = sorted(set(names))
        digest = hashlib.sha1(usedforsecurity=False)
        with path.open("xb") as target:

            def put(data: bytes) -> None:
                digest.update(data)
                target.write(data)

            put(struct.pack(">4sII", b"PACK", 2, len(wanted)))
            for name in wanted:
                found = self.found[name]
                put(_pack_header(_KINDS[found.kind], found.size))
                put(zlib.compress(self.read(name)))
            target.write(digest.digest())


def parse_tree(content: bytes) -> list[Entry]:
    """Return the entries of a tree; `BrokenError` when there is anything else in it."""
    entries: list[Entry] = []
    position = 0
    while position < len(content):
        match = _ENTRY.match(content, position)
        if match is None:
            raise BrokenError("a tree is broken")
        entries.append(Entry(match[1].decode(), match[2], match[3].hex()))
        position = match.end()
    return entries


def parse_commit(sha: str, content: bytes, tags: tuple[str, ...] = ()) -> ports.Commit:
    """Return a commit for reading; `BrokenError` when it is none, or of no time that can be.

    Text that is not UTF-8 gets replacement characters, whatever ``encoding`` says.
    """
    head, _, message = content.partition(b"\n\n")
    lines = head.decode("utf-8", "replace").split("\n")
    tree = _value(lines, 0, "tree")
    parents = [
        _value(lines, number, "parent")
        for number, _ in itertools.takewhile(
            lambda each: each[1].startswith("parent "), enumerate(lines[1:], 1)
        )
    ]
    people = lines[len(parents) + 1 : len(parents) + 3]
    if not (len(people) == 2 and people[0][:7] == "author " and people[1][:10] == "committer "):
        raise BrokenError(f"commit {sha} lacks an author or a committer")
    author = _PERSON.fullmatch(people[0][7:])
    committer = _PERSON.fullmatch(people[1][10:])
    if author is None or committer is None or not 0 <= int(committer[2]) < _LATEST:
        raise BrokenError(f"commit {sha} has no date between 1970 and 2100")
    return ports.Commit(
        sha=sha,
        tree=tree,
        parents=tuple(parents),
        author=author[1],
        at=datetime.datetime.fromtimestamp(int(committer[2]), datetime.UTC),
        message=message.decode("utf-8", "replace"),
        tags=tags,
    )


def _value(lines: list[str], number: int, key: str) -> str:
    word, _, value = lines[number].partition(" ")
    if word != key or _SHA.fullmatch(value) is None:
        raise BrokenError(f"a commit has no {key}")
    return value


def _name(kind: bytes, pieces: Iterable[bytes], size: int) -> str:
    digest = hashlib.sha1(b"%s %d\0" % (kind, size), usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read(min(size, _PIECE))
        if not piece:
            raise BrokenError("git said less than it promised")
        size -= len(piece)
        yield piece


def _pack_header(kind: int, size: int) -> bytes:
    """Return type and size of a pack entry: 4 bits, then groups of 7, the lowest first."""
    out = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)
