"""Git's objects as bytes: their ids, trees, commits, tags and simple packs, without git.

For what must not depend on a git program: checking files on a disk against a tree's id, the
memory twin, and commits that come out the same wherever they are made. `objects` is its
counterpart for what others send. Formats: gitformat-pack(5), "Git Objects" of the git book.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hyperhive.domain import errors

AUTHOR: Final = "hyperhive <hyperhive@localhost>"
"""Who makes commits and tags of the daemon; the same as `git.CONFIGURATION` says."""
FILE_MODES: Final = ("100644", "100755")
EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_PACK_KINDS: Final = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_KIND_NAMES: Final = {number: name for name, number in _PACK_KINDS.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree: its mode and the id of its content."""

    mode: str
    blob: str


@dataclasses.dataclass(frozen=True, slots=True)
class CommitFields:
    """What a commit object says."""

    tree: str
    parents: tuple[str, ...]
    author: str
    at: datetime.datetime
    message: str


def object_id(kind: str, body: bytes) -> str:
    """The id of an object."""
    name = hashlib.sha1(f"{kind} {len(body)}\0".encode(), usedforsecurity=False)
    name.update(body)
    return name.hexdigest()


def check_path(path: str) -> None:
    """INVALID for a path that is not below the tree, or that git would take for its own."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise errors.invalid(f"cannot use the path {path!r} in a tree")


def add_commit(
    found: dict[str, tuple[str, bytes]],
    files: Mapping[str, bytes],
    parents: Sequence[str],
    at: datetime.datetime,
    message: str,
) -> str:
    """Add kind and content of every object of a commit with exactly *files*; return its id."""
    entries: dict[str, Entry] = {}
    for path, content in files.items():
        check_path(path)
        blob = object_id("blob", content)
        found[blob] = ("blob", content)
        entries[path] = Entry("100644", blob)
    tree, trees = tree_objects(entries)
    found |= {name: ("tree", body) for name, body in trees.items()}
    body = commit_body(tree, parents, at, message)
    sha = object_id("commit", body)
    found[sha] = ("commit", body)
    return sha


def tree_objects(files: Mapping[str, Entry]) -> tuple[str, dict[str, bytes]]:
    """Return the id of the root tree of *files* (by path), and the body of every tree by id."""
    root: dict[str, object] = {}
    for path, entry in files.items():
        place = root
        *above, name = path.split("/")
        for part in above:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise errors.invalid(f"cannot make a tree: {path!r} lies below a file")
            place = inner
        if name in place:
            raise errors.invalid(f"cannot make a tree: {path!r} is a file and a directory")
        place[name] = entry
    bodies: dict[str, bytes] = {}
    return _add_tree(root, bodies), bodies


def _add_tree(tree: Mapping[str, object], bodies: dict[str, bytes]) -> str:
    rows: list[tuple[bytes, bytes]] = []
    for name, value in tree.items():
        raw = name.encode("utf-8", "surrogateescape")
        if isinstance(value, Entry):
            mode, target, key = value.mode, value.blob, raw
        else:
            assert isinstance(value, dict)
            # Trees sort as if their names ended in a slash.
            mode, target, key = "40000", _add_tree(value, bodies), raw + b"/"
        rows.append((key, f"{mode} ".encode() + raw + b"\0" + bytes.fromhex(target)))
    body = b"".join(row for _, row in sorted(rows))
    made = object_id("tree", body)
    bodies[made] = body
    return made


def read_tree(body: bytes) -> list[tuple[str, str, str]]:
    """Return (mode, name, id) of every entry of one tree object."""
    rows: list[tuple[str, str, str]] = []
    while body:
        head, _, rest = body.partition(b"\0")
        mode, _, name = head.partition(b" ")
        rows.append((mode.decode(), name.decode("utf-8", "surrogateescape"), rest[:20].hex()))
        body = rest[20:]
    return rows


def commit_body(
    tree: str, parents: Sequence[str], at: datetime.datetime, message: str, author: str = AUTHOR
) -> bytes:
    """Return a commit object; *at* is cut to whole seconds."""
    stamp = f"{author} {int(at.timestamp())} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {stamp}", f"committer {stamp}", "", clean(message)]
    return "\n".join(lines).encode()


def tag_body(name: str, sha: str, at: datetime.datetime, message: str) -> bytes:
    """Return an annotated tag of the commit *sha*."""
    stamp = f"{AUTHOR} {int(at.timestamp())} +0000"
    lines = [f"object {sha}", "type commit", f"tag {name}", f"tagger {stamp}", "", clean(message)]
    return "\n".join(lines).encode()


def clean(message: str) -> str:
    """Return a message that git keeps as it is: printable, one newline at its end."""
    text = message.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    kept = (each if each.isprintable() or each in "\n\t" else "\ufffd" for each in text)
    return "".join(kept).strip() + "\n"


def read_commit(body: bytes) -> CommitFields:
    """Return what a commit object says; foreign bytes become text by replacement."""
    head, _, message = body.decode("utf-8", "replace").partition("\n\n")
    tree, author, parents = "", "", list[str]()
    at = datetime.datetime.fromtimestamp(0, datetime.UTC)
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author":
            author = value.rpartition(">")[0] + ">"
        elif key == "committer":
            at = _read_time(value)
    return CommitFields(tree, tuple(parents), author, at, message.rstrip("\n"))


def _read_time(stamp: str) -> datetime.datetime:
    """The time of an identity line; the beginning of time where it says nonsense."""
    try:
        seconds = int(stamp.rpartition(">")[2].split()[0])
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, IndexError, OverflowError, OSError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)


def read_message(body: bytes) -> str:
    """Return the message of a tag object."""
    return body.decode("utf-8", "replace").partition("\n\n")[2].rstrip("\n")


def write_pack(objects: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a pack, version 2, of (kind, body) without deltas."""
    packed = [_pack_object(kind, body) for kind, body in objects]
    content = b"PACK" + struct.pack(">II", 2, len(packed)) + b"".join(packed)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def _pack_object(kind: str, body: bytes) -> bytes:
    size = len(body)
    first = (_PACK_KINDS[kind] << 4) | (size & 15)
    size >>= 4
    head = bytearray()
    while size:
        head.append(first | 0x80)
        first = size & 0x7F
        size >>= 7
    head.append(first)
    return bytes(head) + zlib.compress(body)


def read_pack(pack: bytes) -> list[tuple[str, bytes]]:
    """Return (kind, body) of a pack without deltas, as `write_pack` makes; INVALID otherwise."""
    content, digest = pack[:-20], pack[-20:]
    if (
        content[:8] != b"PACK\0\0\0\2"
        or hashlib.sha1(content, usedforsecurity=False).digest() != digest
    ):
        raise errors.invalid("cannot read a pack: it is damaged or of another version")
    (count,) = struct.unpack(">I", content[8:12])
    rest, found = content[12:], list[tuple[str, bytes]]()
    for _ in range(count):
        kind, at = (rest[0] >> 4) & 7, 1
        while rest[at - 1] & 0x80:
            at += 1
        if kind not in _KIND_NAMES:
            raise errors.invalid("cannot read a pack: it has deltas")
        inflate = zlib.decompressobj()
        found.append((_KIND_NAMES[kind], inflate.decompress(rest[at:])))
        rest = inflate.unused_data
    return found
