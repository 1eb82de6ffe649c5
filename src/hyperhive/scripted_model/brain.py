"""What a brain is asked and what it may answer.

A brain is a function from a request to a reply and keeps no state: where in its
script it stands follows from the messages that the request itself carries, so a
restarted server, a resumed session and a retried request all get the right
answer. The one thing that the messages cannot tell, how often this very place
was asked before (a failed request leaves no trace in them), the server counts
and hands in as ``attempt``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from hyperhive.scripted_model import mail


@dataclasses.dataclass(frozen=True, slots=True)
class Say:
    """A text block."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Think:
    """A thinking block, before what it leads to."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class UseTool:
    """A call of one tool; the reply then stops with ``tool_use``."""

    name: str
    input: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Fail:
    """An error answer in place of the message; *kind* is the API's error type, else by status."""

    status: int
    message: str = ""
    kind: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection once *after* characters of content have been streamed."""

    after: int


@dataclasses.dataclass(frozen=True, slots=True)
class Snap:
    """Send an SSE ``error`` event once *after* characters have been streamed, and end."""

    after: int
    kind: str = "overloaded_error"
    message: str = "Overloaded"


@dataclasses.dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing for *seconds* once *after* characters have been streamed, then go on."""

    after: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Slow:
    """Seconds between the chunks of this reply, in place of the server's pace."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Seconds before the first byte of the answer."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """The stop reason in place of the one that follows from the blocks (``max_tokens``…)."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """The usage to report in place of an estimate."""

    input: int | None = None
    output: int | None = None
    cache_read: int = 0
    cache_write: int = 0


Block: TypeAlias = Say | Think | UseTool | Fail | Cut | Snap | Stall | Slow | Wait | Stop | Tokens
Reply: TypeAlias = Sequence[Block]

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_NAME = re.compile(r"^\s*You are (?:the )?[`\"']?([A-Za-z][\w-]*)[`\"']?,", re.MULTILINE)
_ROLE = re.compile(r"Your role: (\w+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One tool result that the newest request carries."""

    text: str
    is_error: bool


@dataclasses.dataclass(frozen=True)
class Request:
    """One ``POST /v1/messages``, read the way a brain wants to see it."""

    body: Mapping[str, Any]
    attempt: int = 0
    """How many requests stood at this same `place` before."""

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", "scripted"))

    @functools.cached_property
    def messages(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """(role, content blocks) of each message; a plain string is one text block."""
        found: list[tuple[str, list[dict[str, Any]]]] = []
        for message in _dicts(self.body.get("messages")):
            found.append((str(message.get("role", "user")), _blocks(message.get("content"))))
        return found

    @functools.cached_property
    def system(self) -> str:
        """The system prompt as one text."""
        return "\n".join(_texts(_blocks(self.body.get("system"))))

    @functools.cached_property
    def tools(self) -> frozenset[str]:
        """Names of the tools that may be called."""
        return frozenset(str(tool.get("name", "")) for tool in _dicts(self.body.get("tools")))

    @property
    def name(self) -> str:
        """Who asks: the name in the line ``You are NAME, …`` of the system prompt, or ""."""
        found = _NAME.search(self.system)
        return found.group(1) if found else ""

    @property
    def role(self) -> str:
        """The word after ``Your role:`` in the system prompt, or ""."""
        found = _ROLE.search(self.system)
        return found.group(1) if found else ""

    @functools.cached_property
    def _turn(self) -> tuple[str, int]:
        """The newest real prompt, and the index of the message that carries it."""
        for index in range(len(self.messages) - 1, -1, -1):
            role, blocks = self.messages[index]
            if role != "user":
                continue
            said = [_REMINDER.sub("", text).strip() for text in _texts(blocks)]
            said = [text for text in said if text]
            if any(block.get("type") == "tool_result" for block in blocks):
                # Mail that came in while a tool ran is put beside its result.
                said = [text for text in said if mail.OPENING in text]
            if said:
                return mail.newest(said), index
        return "", -1

    @property
    def prompt(self) -> str:
        """The newest thing a person or the harness said, without reminders."""
        return self._turn[0]

    @functools.cached_property
    def mail(self) -> list[mail.Mail]:
        """The hive's messages in the prompt; empty when the prompt is not from a hive."""
        return mail.parse(self.prompt)

    @functools.cached_property
    def steps(self) -> list[list[dict[str, Any]]]:
        """The tool calls (name, input) of each assistant message since the prompt."""
        return [
            [block for block in blocks if block.get("type") == "tool_use"]
            for role, blocks in self.messages[self._turn[1] + 1 :]
            if role == "assistant"
        ]

    @property
    def round(self) -> int:
        """How many times the model has already answered since the prompt."""
        return len(self.steps)

    @functools.cached_property
    def results(self) -> list[Result]:
        """Every tool result since the prompt, in the order of the calls.

        Calls of one answer run side by side, and their results come in any order.
        """
        given: dict[str, Result] = {}
        for _, blocks in self.messages[max(self._turn[1], 0) :]:
            for block in blocks:
                if block.get("type") == "tool_result":
                    text = "\n".join(_texts(_blocks(block.get("content"))))
                    text = _REMINDER.sub("", text).strip()
                    given[str(block.get("tool_use_id"))] = Result(text, bool(block.get("is_error")))
        calls = [str(block.get("id")) for step in self.steps for block in step]
        return [given[call] for call in calls if call in given]

    @property
    def last_result(self) -> str:
        """The text of the newest tool result; "" when there is none."""
        return self.results[-1].text if self.results else ""

    @property
    def place(self) -> str:
        """Where in which script this request stands: the key by which attempts are counted.

        Mail is told apart by its ids and not by its text, so that the same message
        delivered again goes on where the attempts before it stopped.
        """
        numbers = ",".join(one.id for one in self.mail)
        what = numbers or hashlib.sha256(self.prompt.encode("utf-8", "replace")).hexdigest()
        return f"{self.name}/{what}/{self.round}"


Brain: TypeAlias = Callable[[Request], Reply]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return _dicts(content)


def _texts(blocks: list[dict[str, Any]]) -> list[str]:
    return [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
