"""What came of a turn, judged by the fields that can be trusted.

Rule: ``subtype: "success"`` means nothing; `is_error`, ``api_error_status``,
``terminal_reason`` and the assistant's ``error`` decide. Money and tokens come
from ``model_usage_since_last_result`` only: ``total_cost_usd`` is cumulative for the
session, across processes, and ``usage`` leaves out what compacting and side requests
took. Source: measured with CLI 2.1.330 (docs/harness.md).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional

TOO_LONG = ("prompt_too_long", "blocking_limit")
LOGIN_STATUS = (401, 403)
LIMIT_STATUS = (429, 529)
_STATUS = re.compile(r"API Error: [^0-9]*\b(4\d\d|5\d\d)\b")
# What the program says of a refused credential when it has no status to name.
_LOGIN_WORDS = re.compile(r"Invalid API key|Not logged in|/login\b|OAuth token")
_LOGIN_ERRORS = ("authentication_failed", "oauth_org_not_allowed")
_LIMIT_ERRORS = ("rate_limit", "overloaded")


class Verdict(NamedTuple):
    """An outcome of the wire, why, and what follows from it."""

    outcome: str
    note: str
    retry_at: Optional[float] = None


class Judge:
    """Watches the events of one turn."""

    def __init__(self) -> None:
        self.tool_calls = 0
        self.window = 0
        self._error = ""
        self._compacted = False
        self._compact_error = ""
        self._said = ""
        self._model = ""
        self._retry_at: Optional[float] = None
        self._context = 0
        self._tokens = [0, 0, 0, 0]
        self._cost = 0.0
        # Only until a result says it exactly: what each answer of the model said it used.
        self._unsettled: Dict[str, List[int]] = {}

    def see(self, event: Dict[str, Any]) -> None:
        """Take in one event of the stream."""
        kind = event.get("type")
        if kind == "assistant":
            self._see_assistant(event)
        elif kind == "rate_limit_event":
            info = event.get("rate_limit_info") or {}
            if info.get("status") == "rejected" and isinstance(info.get("resetsAt"), (int, float)):
                self._retry_at = float(info["resetsAt"])
        elif kind == "result":
            self._see_result(event)
        elif kind == "system":
            self._see_compaction(event)

    def verdict(self, result: Dict[str, Any]) -> Verdict:
        """Judge the *result* event that ends a turn."""
        status = result.get("api_error_status")
        reason = str(result.get("terminal_reason") or "")
        if not result.get("is_error") and not self._error:
            return Verdict("ok", "")
        note = self._reason(result)
        if reason in TOO_LONG:
            return Verdict("too_long", note or "Prompt is too long")
        if status in LOGIN_STATUS or self._error in _LOGIN_ERRORS:
            return Verdict("needs_login", note)
        if status in LIMIT_STATUS or self._error in _LIMIT_ERRORS:
            return Verdict("rate_limited", note, self._retry_at)
        return Verdict("failed", note or reason or "the turn failed without a reason")

    def compaction(self, result: Dict[str, Any]) -> Verdict:
        """Judge the *result* event that ends a ``/compact``, which never says that it failed."""
        if self._compacted:
            return Verdict("ok", "")
        note = self._compact_error or self._said or self._reason(result) or "it said nothing"
        status = _STATUS.search(self._compact_error)
        if _LOGIN_WORDS.search(note) or (status and int(status.group(1)) in LOGIN_STATUS):
            return Verdict("needs_login", note)
        if status and int(status.group(1)) in LIMIT_STATUS:
            return Verdict("rate_limited", note, self._retry_at)
        if self._compact_error and "Error" not in self._compact_error:
            # "Compaction failed · …": not the way to the model, so it would fail again.
            return Verdict("too_long", note)
        return Verdict("failed", note)

    def usage(self) -> Dict[str, Any]:
        """The turn's own tokens and money, and the fill of the context window."""
        tokens = list(self._tokens)
        for used in self._unsettled.values():
            tokens = [a + b for a, b in zip(tokens, used)]
        return {
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "cache_read_tokens": tokens[2],
            "cache_write_tokens": tokens[3],
            "cost_usd": round(self._cost, 8),
            "context_tokens": self._context,
        }

    def _see_compaction(self, event: Dict[str, Any]) -> None:
        self._compact_error = str(event.get("compact_error") or self._compact_error)
        if event.get("subtype") == "compact_boundary":
            self._compacted = True
            left = (event.get("compact_metadata") or {}).get("post_tokens")
            if isinstance(left, int):
                self._context = left

    def _see_assistant(self, event: Dict[str, Any]) -> None:
        self._error = str(event.get("error") or "")
        message = event.get("message") or {}
        for block in message.get("content") or []:
            if not isinstance(block, dict):
                continue
            if block.get("type") == "tool_use":
                self.tool_calls += 1
            elif block.get("type") == "text":
                self._said = str(block.get("text") or "")[:2000]
        if message.get("model") not in (None, "<synthetic>") and not event.get(
            "parent_tool_use_id"
        ):
            self._model = str(message["model"])
        used = _counts(message.get("usage") or {})
        if message.get("model") == "<synthetic>" or not any(used):
            return
        self._unsettled[str(message.get("id"))] = used
        if not event.get("parent_tool_use_id"):
            self._context = used[0] + used[2] + used[3]

    def _see_result(self, event: Dict[str, Any]) -> None:
        self._unsettled.clear()
        self._see_window(event.get("modelUsage") or {})
        for figures in (event.get("model_usage_since_last_result") or {}).values():
            if isinstance(figures, dict):
                used = [int(figures.get(name) or 0) for name in _SETTLED]
                self._tokens = [a + b for a, b in zip(self._tokens, used)]
                self._cost += float(figures.get("costUSD") or 0.0)

    def _see_window(self, models: Dict[str, Any]) -> None:
        """Take the window of the model that answered; helpers' models have others."""
        figures = models.get(self._model)
        if isinstance(figures, dict) and isinstance(figures.get("contextWindow"), int):
            self.window = figures["contextWindow"]

    def _reason(self, result: Dict[str, Any]) -> str:
        errors = [str(error) for error in result.get("errors") or []]
        return (str(result.get("result") or "") or "; ".join(errors) or self._error)[:2000]


_SETTLED = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")


def _counts(usage: Dict[str, Any]) -> List[int]:
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    )
    return [int(usage.get(name) or 0) for name in names]
