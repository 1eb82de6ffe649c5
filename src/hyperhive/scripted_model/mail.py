"""The hive's mail as it stands in a prompt.

    <hive-message id="7" from="operator" key="9f…">body</hive-message 9f…>

The random key in both tags is what keeps a body from ending its own message.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

OPENING = "<hive-message "
_MORE = re.compile(r"\d+ more messages? (is|are) waiting: call recv\.")
_OPEN = re.compile(r"<hive-message ([^<>]*)>")
_ATTRIBUTE = re.compile(r"([\w-]+)=(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+))")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    """One message of the hive."""

    id: str
    sender: str
    body: str

    @property
    def event(self) -> dict[str, Any]:
        """The system event that the body is, or {} for ordinary mail."""
        if self.sender != "system":
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) and "event" in value else {}


def parse(prompt: str) -> list[Mail]:
    """Return the messages in *prompt*, in order; text around them is skipped."""
    found: list[Mail] = []
    position = 0
    while opening := _OPEN.search(prompt, position):
        words = {
            match[1]: next((part for part in match.groups()[1:] if part is not None), "")
            for match in _ATTRIBUTE.finditer(opening[1])
        }
        closing = f"</hive-message {words['key']}>" if words.get("key") else "</hive-message"
        end = prompt.find(closing, opening.end())
        if end < 0:
            end = len(prompt)
        body = prompt[opening.end() : end].strip()
        found.append(Mail(words.get("id", ""), words.get("from", ""), body))
        position = min(end + len(closing), len(prompt))
    return found


def newest(said: list[str]) -> str:
    """Return the newest prompt among the texts of one user message, oldest first.

    A turn that failed leaves its prompt in front of the next one. The texts of one
    delivery share their key; what is no mail is a prompt by itself.
    """
    texts = [text for text in said if _MORE.fullmatch(text) is None] or said
    keys = _keys(texts[-1])
    if not keys:
        return texts[-1]
    return "\n".join(text for text in texts if keys & _keys(text))


def _keys(text: str) -> set[str]:
    return {
        match[2] or match[3] or match[4] or ""
        for opening in _OPEN.finditer(text)
        for match in _ATTRIBUTE.finditer(opening[1])
        if match[1] == "key"
    }


def scripts(prompt: str) -> list[str]:
    """Return the inside of every ``<script>`` in *prompt*, in order."""
    return [match[1] for match in _SCRIPT.finditer(prompt)]
