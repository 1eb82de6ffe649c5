"""The live view of an agent's turns."""

from __future__ import annotations

import json
from typing import Any

EVENTS = [
    ("wake", {"id": 7, "from": "operator", "body": "list the files", "redelivered": True}),
    ("thinking", {"text": "I should look."}),
    ("tool_use", {"id": "a", "name": "Bash", "input": {"command": "ls\npwd", "timeout": 5}}),
    ("tool_result", {"id": "a", "is_error": False, "content": "\n".join(map(str, range(40)))}),
    ("tool_use", {"name": "Edit", "input": {"file_path": "/state/a", "old_string": "x\ny",
                                            "new_string": "z"}}),
    ("tool_use", {"name": "mcp__hive__send", "input": {"to": "operator", "body": "[bold]done"}}),
    ("text", {"text": "Done.\x1b[2J"}),
    ("note", {"text": "compacted"}),
    ("result", {"outcome": "ok", "tool_calls": 3, "note": "",
                "usage": {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25}}),
    ("something_new", {"answer": 42}),
]  # fmt: skip


def live(number: int, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    at = "2026-11-23T08:15:00.123Z"
    return {"number": number, "at": at, "turn": "t1", "kind": kind, "data": data}


def test_a_turn_reads_as_a_story(hive: Any, daemon: Any) -> None:
    daemon.events["watch"] = [live(n, *event) for n, event in enumerate(EVENTS, 1)]
    done = hive("watch", "coder", "--no-follow")
    assert done.code == 0, done.err
    for line in (
        "◀ operator (message 7, delivered again)",
        "  list the files",
        "∴ I should look.",
        "▶ Bash ls",
        "  pwd",
        "  timeout: 5",
        "  ⎿ 0",
        "… 28 more lines (all: --full)",
        "▶ Edit /state/a",
        "  - y",
        "  + z",
        "▶ send operator",
        "  body: [bold]done",
        "● Done.\\x1b[2J",
        "! compacted",
        "✔ ok · 3 tools · 10 tokens in, 5 out · 0.2500 USD",
        "· something_new answer=42",
    ):
        assert line in done.out, line
    assert done.out.count("turn t1") == 1
    assert "\x1b" not in done.out
    assert "    39" in hive("watch", "coder", "--no-follow", "--full").out


def test_it_asks_for_the_past_and_what_follows(hive: Any, daemon: Any) -> None:
    hive("watch", "coder", "-n", "2")
    hive("watch", "coder", "--no-follow")
    assert daemon.asked == [
        ("watch", {"name": "coder", "lines": 2, "follow": True}),
        ("watch", {"name": "coder", "lines": 100, "follow": False}),
    ]


def test_json_is_one_event_a_line(hive: Any, daemon: Any) -> None:
    daemon.events["watch"] = [live(1, "text", {"text": "\u202ehi"})]
    out = hive("watch", "coder", "--no-follow", "--json").out
    assert json.loads(out) == daemon.events["watch"][0]
    assert out.isascii()
