"""A scripted Anthropic Messages API on loopback: real HTTP, streaming and errors, no model.

`hive up --demo` plays its story with it and the tests of turns drive the real
claude program against it. It knows nothing of the hive but the form in which
mail appears in a prompt.
"""

from hyperhive.scripted_model.brain import (
    Block,
    Brain,
    Cut,
    Fail,
    Reply,
    Request,
    Say,
    Slow,
    Snap,
    Stall,
    Stop,
    Think,
    Tokens,
    UseTool,
    Wait,
)
from hyperhive.scripted_model.server import Recorded, ScriptedModel

__all__ = [
    "Block",
    "Brain",
    "Cut",
    "Fail",
    "Recorded",
    "Reply",
    "Request",
    "Say",
    "ScriptedModel",
    "Slow",
    "Snap",
    "Stall",
    "Stop",
    "Think",
    "Tokens",
    "UseTool",
    "Wait",
]
