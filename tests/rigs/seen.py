"""Getting bytes back from what was shown: the proof that nothing was hidden."""

from __future__ import annotations

import re
from typing import Any

_CONTROLS = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
)
_NAMES = {name: code for code, name in enumerate(_CONTROLS.split())} | {"DEL": 0x7F}
_PIECE = re.compile(r"⟦([^⟦⟧]*)⟧")


def read_back(text: str) -> bytes:
    """The bytes of a line, from its text as it is shown."""
    out = bytearray()
    at = 0
    for found in _PIECE.finditer(text):
        out += text[at : found.start()].encode()
        name = found[1]
        if name.startswith("0x"):
            out += bytes([int(name[2:], 16)])
        elif name.startswith("U+"):
            out += chr(int(name[2:], 16)).encode()
        else:
            out += bytes([_NAMES[name]])
        at = found.end()
    return bytes(out + text[at:].encode())


def read_lines(rows: list[dict[str, Any]], signs: str) -> bytes:
    """The bytes of the rows that carry one of *signs*."""
    return b"".join(
        read_back(row["text"]) + (b"" if row.get("open") else b"\n")
        for row in rows
        if row["sign"] in signs
    )


def apply_hunks(before: bytes, file: dict[str, Any]) -> bytes:
    """What *before* becomes by the shown change; fails when the rows contradict it."""
    lines = [line + b"\n" for line in before.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        lines.pop()
    out: list[bytes] = []
    at = 0
    for hunk in file["hunks"]:
        start = hunk["before"] - 1
        out += lines[at:start]
        assert sum(map(_newlines, out)) + (not all(map(_newlines, out))) == hunk["after"] - 1
        at = start
        for row in hunk["rows"]:
            raw = read_back(row["text"]) + (b"" if row.get("open") else b"\n")
            if row["sign"] in " -":
                assert lines[at] == raw
                at += 1
            if row["sign"] in " +":
                out.append(raw)
    return b"".join(out + lines[at:])


def _newlines(line: bytes) -> int:
    return line.count(b"\n")
