"""What a harness puts around a call of a tool."""

from __future__ import annotations

from typing import Any


def rpc(key: str, method: str, **params: Any) -> dict[str, Any]:
    """One JSON-RPC request (jsonrpc.org/specification)."""
    return {"jsonrpc": "2.0", "id": key, "method": method, "params": params}
