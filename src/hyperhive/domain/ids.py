"""Names and identifiers, validated once at every border.

A name is what people type; an id is what rows, directories, uids and
credentials are keyed by. A destroyed agent's name may come back, its id never.
"""

from __future__ import annotations

import re
import secrets
from typing import Final, NewType

from hyperhive.domain import errors

AgentId = NewType("AgentId", str)
"""Immutable key of one agent: 12 lower-case hexadecimal digits."""

AgentName = NewType("AgentName", str)
"""A validated agent name; build it with `parse_agent_name` only."""

PartyId = NewType("PartyId", str)
"""A sender or recipient of mail: an `AgentId`, or one of OPERATOR and SYSTEM."""

MessageId = NewType("MessageId", int)
ApprovalId = NewType("ApprovalId", int)
QuestionId = NewType("QuestionId", int)
ReminderId = NewType("ReminderId", int)
TurnId = NewType("TurnId", str)

Sha = NewType("Sha", str)
"""A full git object name: 40 lower-case hexadecimal digits (SHA-1 repositories only)."""

GenerationId = NewType("GenerationId", str)
"""The content of a built environment: 16 to 64 hexadecimal digits. Equal ids are equal builds."""

OPERATOR: Final = PartyId("operator")
SYSTEM: Final = PartyId("system")
MANAGER_NAME: Final = AgentName("manager")

NAME_MAX: Final = 32
NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
RESERVED_NAMES: Final = frozenset(
    {
        "operator", "system", "manager", "root", "core", "all", "meta", "head", "hive",
        "hyperhive", "main", "proposed", "applied", "config", "none", "self", "localhost",
    }
)  # fmt: skip

_SHA_PATTERN: Final = re.compile(r"[0-9a-f]{40}")
_COMMIT_REF_PATTERN: Final = re.compile(r"[0-9a-f]{7,40}")
_ID_PATTERN = re.compile(r"[0-9a-f]{12}")


def parse_agent_name(text: str, *, allow_manager: bool = False) -> AgentName:
    """Return *text* as an agent name, or raise `HiveError` INVALID saying what is allowed.

    `fullmatch` on purpose: with `match` and ``$`` a trailing newline would pass.
    """
    if len(text) > NAME_MAX or NAME_PATTERN.fullmatch(text) is None:
        raise errors.invalid(
            f"cannot use {text[:64]!r} as an agent name: a name has 1 to {NAME_MAX} lower-case "
            "letters, digits and single hyphens, and starts with a letter"
        )
    if text == MANAGER_NAME and allow_manager:
        return AgentName(text)
    if text in RESERVED_NAMES:
        raise errors.invalid(f"cannot use {text!r} as an agent name: the word is reserved")
    return AgentName(text)


def parse_agent_id(text: str) -> AgentId:
    """Return *text* as an agent id, or raise `HiveError` INVALID."""
    if _ID_PATTERN.fullmatch(text) is None:
        raise errors.invalid(f"cannot use {text[:64]!r} as an agent id")
    return AgentId(text)


def parse_sha(text: str) -> Sha:
    """Return *text* as a full object name, or raise `HiveError` INVALID."""
    if _SHA_PATTERN.fullmatch(text) is None:
        raise errors.invalid(f"cannot use {text[:64]!r} as a full commit id: 40 hex digits")
    return Sha(text)


def parse_commit_ref(text: str) -> str:
    """Return *text* when it is 7 to 40 hexadecimal digits, or raise `HiveError` INVALID (S31).

    Branch and tag names are refused: they may mean something else a moment later.
    """
    if _COMMIT_REF_PATTERN.fullmatch(text) is None:
        raise errors.invalid(
            f"cannot use {text[:64]!r} as a commit: give 7 to 40 lower-case hexadecimal digits of "
            "its id (git rev-parse HEAD); names of branches and tags are refused, they can move"
        )
    return text


def new_agent_id() -> AgentId:
    """Return a fresh random agent id (48 bits; collisions are refused by the store)."""
    return AgentId(secrets.token_hex(6))


def new_turn_id() -> TurnId:
    """Return a fresh random turn id."""
    return TurnId(secrets.token_hex(8))
