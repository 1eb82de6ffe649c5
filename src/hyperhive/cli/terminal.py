"""An agent's live events as lines for a person: mail in, thoughts, tools, results, words.

Every text passes `show.clean` before rich sees it, and rich is never given markup.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import rich.console
import rich.rule
import rich.text

from hyperhive.cli import show

RESULT_LINES: Final = 12
BODY_LINES: Final = 40
DIFF_LINES: Final = 24
_MCP_PREFIX: Final = "mcp__hive__"

Line = tuple[str, str]
"""Text and its style."""


class Terminal:
    """Prints events in order, with a rule wherever a turn begins."""

    def __init__(self, console: rich.console.Console, *, full: bool) -> None:
        self._console = console
        self._full = full
        self._turn = ""

    def show(self, event: Mapping[str, Any]) -> None:
        """Print one event of the live log."""
        if event["turn"] != self._turn:
            self._turn = str(event["turn"])
            # A person compares it with the clock on the wall.
            at = datetime.datetime.fromisoformat(event["at"]).astimezone()
            title = f"turn {show.clean(self._turn)} · {at:%H:%M:%S}"
            self._console.print()
            self._console.print(rich.rule.Rule(title, align="left", style="dim"))
        render = _RENDERERS.get(str(event["kind"]), _other)
        for text, style in render(event["kind"], event["data"], self._full):
            self._console.print(rich.text.Text(text, style=style), soft_wrap=True)


def _lines(text: object, limit: int, full: bool) -> Iterator[str]:
    lines = show.clean(text, lines=True).splitlines()
    shown = lines if full else lines[:limit]
    yield from shown
    if len(lines) > len(shown):
        yield f"… {len(lines) - len(shown)} more lines (all: --full)"


def _wake(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    again = ", delivered again" if data.get("redelivered") else ""
    sender = show.clean(data.get("from", "?"))
    yield f"◀ {sender} (message {data.get('id')}{again})", "bold magenta"
    for line in _lines(data.get("body", ""), BODY_LINES, full):
        yield f"  {line}", "magenta"


def _thinking(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    for number, line in enumerate(_lines(data.get("text", ""), RESULT_LINES, full)):
        yield ("∴ " if number == 0 else "  ") + line, "dim italic"


def _text(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    for number, line in enumerate(_lines(data.get("text", ""), 10_000, full)):
        yield ("● " if number == 0 else "  ") + line, ""


def _tool_use(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    name = str(data.get("name", "?")).removeprefix(_MCP_PREFIX)
    given = data.get("input")
    values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    main = next(
        (values.pop(key) for key in ("command", "file_path", "pattern", "path", "to", "name")
         if isinstance(values.get(key), str)),
        "",
    )  # fmt: skip
    first, *rest = show.clean(main, lines=True).splitlines() or [""]
    yield f"▶ {show.clean(name)} {first}".rstrip(), "bold cyan"
    for line in rest:
        yield f"  {line}", "cyan"
    if "old_string" in values:
        yield from _diff(values, full)
        return
    for key, value in values.items():
        if key == "description" or value in (None, "", False):
            continue
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for number, line in enumerate(_lines(said, RESULT_LINES, full)):
            yield (f"  {show.clean(key)}: " if number == 0 else "    ") + line, "cyan"


def _diff(values: Mapping[str, Any], full: bool) -> Iterator[Line]:
    for key, sign, style in (("old_string", "-", "red"), ("new_string", "+", "green")):
        for line in _lines(values.get(key, ""), DIFF_LINES, full):
            yield f"  {sign} {line}", style


def _tool_result(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    style = "red" if data.get("is_error") else "dim"
    for number, line in enumerate(_lines(data.get("content", ""), RESULT_LINES, full)):
        yield ("  ⎿ " if number == 0 else "    ") + line, style


def _note(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    for line in _lines(data.get("text", ""), BODY_LINES, full):
        yield f"! {line}", "yellow"


def _compaction(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    yield f"⇲ compacting the session: {show.first_line(data.get('why', ''), 200)}", "bold magenta"


def _result(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    outcome = str(data.get("outcome", "?"))
    given = data.get("usage")
    usage: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    said = [
        outcome.replace("_", " "),
        f"{data.get('tool_calls', 0)} tools",
        f"{usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out",
        f"{usage.get('cost_usd', 0.0):.4f} USD",
    ]
    good = outcome in ("ok", "interrupted")
    yield ("✔ " if good else "✘ ") + show.clean(" · ".join(said)), "green" if good else "red"
    for line in _lines(data.get("note") or "", BODY_LINES, full):
        yield f"  {line}", "yellow"


def _other(kind: str, data: Mapping[str, Any], full: bool) -> Iterator[Line]:
    """A kind that this version does not know, or one that needs no form of its own."""
    values = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in data.items()
        if value not in (None, "", [], {})
    )
    yield f"· {show.first_line(f'{kind} {values}', 200)}", "dim"


_RENDERERS: Final[dict[str, Callable[[str, Mapping[str, Any], bool], Iterator[Line]]]] = {
    "wake": _wake,
    "thinking": _thinking,
    "text": _text,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "note": _note,
    "compaction": _compaction,
    "result": _result,
}
