"""How the data of one live event is kept: JSON text of bounded size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

DATA_MAX: Final = 1024 * 1024
"""Characters of JSON; what is larger is replaced by how large it was."""


def data_in(data: Mapping[str, Any]) -> str:
    """Return *data* as text that any database takes (non-ASCII escaped, so no lone surrogate)."""
    text = json.dumps(dict(data), separators=(",", ":"), default=str)
    if len(text) > DATA_MAX:
        return json.dumps({"dropped": f"{len(text)} characters are more than {DATA_MAX}"})
    return text


def text_in(text: str) -> str:
    """Return *text* without what no database takes: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def data_out(text: str) -> Mapping[str, Any]:
    """The inverse of `data_in`."""
    return json.loads(text)
