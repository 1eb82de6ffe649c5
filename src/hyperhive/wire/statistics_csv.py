"""Statistics as a table for spreadsheets: RFC 4180, one row for each agent and model.

Rule: no cell that somebody else has named can become a formula. A spreadsheet takes text that
begins with one of ``= + - @``, a tab or a line end for one, so such text gets a quote before it
(OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Final

_NUMBERS: Final = (
    "tool_calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cost_usd", "cache_share", "p50_seconds", "p95_seconds", "context_tokens",
    "context_max_tokens",
)  # fmt: skip
# With the wide forms, which some programs take for the narrow ones.
_DANGEROUS: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def write(view: Mapping[str, Any]) -> str:
    """The ``stats`` answer as CSV with a line of names first; lines end with CR LF."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    outcomes = list(view["total"]["outcomes"])
    table.writerow(["agent", "model", "since", "until", "turns", *outcomes, *_NUMBERS, "woke"])
    for row in view["rows"]:
        table.writerow(
            [
                _text(row["agent"]),
                _text(row["model"]),
                view["since"],
                view["at"],
                row["turns"],
                *(row["outcomes"][name] for name in outcomes),
                *(_number(row[name]) for name in _NUMBERS),
                _text("; ".join(f"{one['name']} {one['turns']}" for one in row["woke"])),
            ]
        )
    return out.getvalue()


def _number(value: float | None) -> str:
    # Never 1e-06, which some spreadsheets read as text.
    return "" if value is None else f"{value:.6f}".rstrip("0").rstrip(".") if value else "0"


def _text(value: str) -> str:
    return f"'{value}" if value.lstrip(" \u00a0").startswith(_DANGEROUS) else value
