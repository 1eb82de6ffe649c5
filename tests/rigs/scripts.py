"""Mail that the scripted model plays word by word."""

from __future__ import annotations

import json
from typing import Any


def script(*steps: dict[str, Any]) -> str:
    """Steps for the scripted model, nestable: inner scripts are escaped by JSON."""
    text = json.dumps(steps).replace("<", "\\u003c")
    return f"<script>{text}</script>"
