"""A small MCP server over standard input and output, for tests; standard library only.

``python3 mcp_probe.py [WORD]…`` offers the tools ``look`` (its arguments and environment as
JSON) and ``other``.
"""

import json
import os
import sys

TOOLS = [
    {"name": name, "description": "A probe.", "inputSchema": {"type": "object"}}
    for name in ("look", "other")
]


def answer(message):
    """The result of one request."""
    if message["method"] == "initialize":
        return {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "probe", "version": "1"},
        }
    if message["method"] == "tools/list":
        return {"tools": TOOLS}
    if message["method"] == "tools/call":
        seen = json.dumps({"args": sys.argv[1:], "env": dict(os.environ)})
        return {"content": [{"type": "text", "text": seen}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            said = {"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}
            print(json.dumps(said), flush=True)
