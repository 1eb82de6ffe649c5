"""Keeps the token out of every sentence that leaves this package.

A net under the real rule, which is that git and the API client never print it: what a forge
answers is text of a stranger and may hold what we sent, in the encodings of HTTP and git.
"""

from __future__ import annotations

import base64
import urllib.parse
from typing import Final

MARK: Final = "[redacted]"
LENGTH: Final = 200


def forms(token: str) -> list[str]:
    """The token as it may appear: raw, URL-encoded, hex, base64 at all three alignments."""
    raw = token.encode()
    found = {token, urllib.parse.quote(token, safe=""), raw.hex(), raw.hex().upper()}
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + raw).decode()
        # The characters at both ends hold bits of the neighbours: only the middle is certain.
        first = (0, 2, 3)[lead]
        last = len(encoded) if (lead + len(raw)) % 3 == 0 else encoded.index("=") - 1
        found |= {encoded[first:last], _url_safe(encoded[first:last])}
    return sorted((form for form in found if form), key=len, reverse=True)


def redact(said: str, token: str) -> str:
    """*said* on one line, printable, without *token* in any of its forms, of sane length."""
    said = " ".join("".join(char if char.isprintable() else " " for char in said).split())
    if token:
        for form in forms(token):
            said = said.replace(form, MARK)
    return said if len(said) <= LENGTH else said[: LENGTH - 1] + "…"


def _url_safe(encoded: str) -> str:
    return encoded.replace("+", "-").replace("/", "_")
