"""Writes git packs byte by byte, good ones and bad ones (gitformat-pack(5))."""

from __future__ import annotations

import hashlib
import struct
import zlib

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
AUTHOR = b"Alice <alice@example.org> 1700000000 +0000"


def name_of(kind: int, content: bytes) -> str:
    return hashlib.sha1(_NAMES[kind] + b" %d\0" % len(content) + content).hexdigest()


def entry_header(kind: int, size: int) -> bytes:
    out = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)


def varint(number: int) -> bytes:
    out = bytearray([number & 0x7F])
    while number := number >> 7:
        out[-1] |= 0x80
        out.append(number & 0x7F)
    return bytes(out)


def copy_delta(base: int, copies: list[tuple[int, int]]) -> bytes:
    """A delta that copies pieces (offset, length) of a base with *base* bytes."""
    out = bytearray(varint(base) + varint(sum(length for _, length in copies)))
    for offset, length in copies:
        out.append(0xF7 | 0x88)
        out += struct.pack("<I", offset) + struct.pack("<I", length)[:3]
    return bytes(out)


def tree(*entries: tuple[str, bytes, str]) -> bytes:
    """A tree with exactly these entries (mode, name, object), in this order."""
    return b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries
    )


def commit(tree_sha: str, *parents: str, message: bytes = b"Change\n", extra: bytes = b"",
           author: bytes = AUTHOR) -> bytes:  # fmt: skip
    lines = [b"tree " + tree_sha.encode(), *(b"parent " + each.encode() for each in parents)]
    lines += [b"author " + author, b"committer " + author]
    return b"\n".join(lines) + b"\n" + extra + b"\n" + message


class Pack:
    """Objects on their way; `bytes` of it is the pack."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.names: list[str] = []

    def add(self, kind: int, content: bytes, level: int = 1) -> str:
        """Add an object once and return its name."""
        name = name_of(kind, content)
        if name not in self.names:
            self.raw(entry_header(kind, len(content)) + zlib.compress(content, level))
            self.names.append(name)
        return name

    def raw(self, part: bytes) -> int:
        """Add anything; return where it begins."""
        offset = 12 + sum(map(len, self.parts))
        self.parts.append(part)
        return offset

    def ref_delta(self, base: str, delta: bytes, size: int | None = None) -> None:
        size = len(delta) if size is None else size
        self.raw(entry_header(REF_DELTA, size) + bytes.fromhex(base) + zlib.compress(delta, 1))

    def ofs_delta(self, base: int, delta: bytes) -> int:
        """Add a delta of what begins at *base*; return where it begins itself."""
        begin = self.raw(b"")
        self.parts.pop()
        back = begin - base
        distance = bytearray([back & 0x7F])
        while back := back >> 7:
            back -= 1
            distance.insert(0, 0x80 | back & 0x7F)
        return self.raw(
            entry_header(OFS_DELTA, len(delta)) + bytes(distance) + zlib.compress(delta)
        )

    def blob(self, content: bytes = b"hello\n") -> str:
        return self.add(BLOB, content)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        return self.add(TREE, tree(*entries))

    def files(self, *names: bytes) -> str:
        """A tree of equal files of these names."""
        content = self.blob()
        return self.tree(*(("100644", name, content) for name in names))

    def commit(self, tree_sha: str, *parents: str, **more: bytes) -> str:
        return self.add(COMMIT, commit(tree_sha, *parents, **more))

    def build(self, count: int | None = None, version: int = 2, magic: bytes = b"PACK") -> bytes:
        head = struct.pack(">4sII", magic, version, len(self.parts) if count is None else count)
        return sealed(head + b"".join(self.parts))


def sealed(pack: bytes) -> bytes:
    """The pack with the checksum that belongs to it."""
    return pack + hashlib.sha1(pack).digest()
