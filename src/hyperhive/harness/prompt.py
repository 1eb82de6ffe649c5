"""The wake prompt: mail as the model sees it.

Rule: a body cannot speak for anybody else. Every message stands between marks
with a random key made after the mail was taken, so no sender can know it and
close the own message early to open one from ``operator``.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List

_UNSAFE = re.compile(r"[^\w .:+@/-]")


def _attribute(value: Any) -> str:
    return _UNSAFE.sub("?", str(value))


def compose(plan: Dict[str, Any], key: str) -> List[Dict[str, Any]]:
    """Return the content blocks of a turn: one a message, and a hint when more is unread.

    *key* must be random and new for each turn.
    """
    blocks = []
    if plan.get("preface"):
        note = f'<hive-note key="{key}">\n{plan["preface"]}\n</hive-note {key}>'
        blocks.append({"type": "text", "text": note})
    blocks += [{"type": "text", "text": _wrap(message, key)} for message in plan["messages"]]
    unread = int(plan.get("unread") or 0)
    if unread > 0:
        noun, verb = ("message", "is") if unread == 1 else ("messages", "are")
        blocks.append({"type": "text", "text": f"{unread} more {noun} {verb} waiting: call recv."})
    return blocks


def _wrap(message: Dict[str, Any], key: str) -> str:
    words = [f'id="{_attribute(message["id"])}"', f'from="{_attribute(message["from"])}"']
    words.append(f'type="{_attribute(message.get("type", "text"))}"')
    if message.get("in_reply_to") is not None:
        words.append(f'in_reply_to="{_attribute(message["in_reply_to"])}"')
    if message.get("sent_at"):
        words.append(f'sent_at="{_attribute(message["sent_at"])}"')
    if message.get("redelivered"):
        words.append('redelivered="true"')
    words.append(f'key="{key}"')
    return f"<hive-message {' '.join(words)}>\n{message['body']}\n</hive-message {key}>"
