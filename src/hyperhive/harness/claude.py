"""The claude command line: how it is started, and what is said to it.

Rule: everything that steers the program is given from outside ``/state``; what
an agent writes there can be read by the model (CLAUDE.md), but changes no
setting, hook, permission or tool. Reasons and measurements: docs/harness.md.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, NamedTuple, Tuple

from hyperhive.harness import extras

SETTINGS = {
    # The hive owns compaction and memory.
    "autoMemoryEnabled": False,
    "autoCompactEnabled": False,
    # The default of 30 days would delete the session under a sleeping agent.
    "cleanupPeriodDays": 3650,
    "attribution": {"commit": "", "pr": ""},
    "includeGitInstructions": False,
    # WebFetch would first ask api.anthropic.com, past the gateway, whether a host is fine. Which
    # hosts an agent may reach is decided by the egress proxy.
    "skipWebFetchPreflight": True,
}
OWN_SERVER = {"hive": {"type": "sdk", "name": "hive"}}
_NOT_PASSED_ON = ("HIVE_", "CLAUDE", "ANTHROPIC_", "PYTHON")


class Paths(NamedTuple):
    """Where things are for the program."""

    program: str
    state: str
    private: str
    """A directory of this harness alone, outside the state directory."""


def make_directories(paths: Paths) -> None:
    """Create what the program needs to write into, closed to others."""
    for path in (config_directory(paths), paths.private, os.path.join(paths.private, "tmp")):
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)


def config_directory(paths: Paths) -> str:
    """``CLAUDE_CONFIG_DIR``: sessions live here."""
    return os.path.join(paths.state, ".claude")


def write_files(plan: Dict[str, Any], paths: Paths) -> None:
    """Write the settings, the servers and the system prompt that `arguments` names."""
    for name, text in (
        ("settings.json", json.dumps(SETTINGS)),
        ("mcp.json", json.dumps(mcp_config(plan))),
        ("system-prompt.txt", plan["system_prompt"]),
    ):
        # Closed to others from the first byte on: the servers' environment may hold secrets.
        path = os.path.join(paths.private, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def mcp_config(plan: Dict[str, Any]) -> Dict[str, Any]:
    """The MCP servers of one process: the extra ones of the configuration, and always our own."""
    return {"mcpServers": {**extras.servers(plan)[0], **OWN_SERVER}}


def arguments(plan: Dict[str, Any], paths: Paths, resume: bool) -> List[str]:
    """The command line of one process."""
    settings = plan["settings"]
    private = paths.private
    return [
        paths.program,
        "--print",
        "--verbose",
        "--output-format",
        "stream-json",
        "--input-format",
        "stream-json",
        "--model",
        plan["model"],
        "--resume" if resume else "--session-id",
        plan["session"],
        # No settings files and no hooks of /state; --add-dir brings CLAUDE.md alone back.
        "--setting-sources",
        "",
        "--add-dir",
        paths.state,
        "--settings",
        f"{private}/settings.json",
        "--system-prompt-file",
        f"{private}/system-prompt.txt",
        # Else a changed prompt is ignored when a session is resumed.
        "--system-prompt-snapshot",
        "off",
        "--mcp-config",
        f"{private}/mcp.json",
        "--strict-mcp-config",
        "--tools",
        ",".join(settings["tools"]),
        "--allowedTools",
        ",".join(allowed_tools(plan)),
        "--permission-mode",
        "dontAsk",
    ]


def allowed_tools(plan: Dict[str, Any]) -> List[str]:
    """What needs no question, the hive's own tools always among them."""
    allowed = list(plan["settings"].get("allowed_tools") or plan["settings"]["tools"])
    if "mcp__hive" not in allowed:
        allowed.append("mcp__hive")
    return allowed


def environment(
    plan: Dict[str, Any], paths: Paths, outer: Dict[str, str], gateway: int, egress: int
) -> Dict[str, str]:
    """The environment of the program and of the agent's shells.

    Its only secrets are those that the agent's configuration asks for by name.
    """
    env = {name: value for name, value in outer.items() if not name.startswith(_NOT_PASSED_ON)}
    env.update(extras.variables(plan))
    proxy = f"http://127.0.0.1:{egress}"
    direct = "127.0.0.1,localhost,::1"
    temporary = os.path.join(paths.private, "tmp")
    env.update(
        HOME=paths.state,
        TMPDIR=temporary,
        CLAUDE_CODE_TMPDIR=temporary,
        CLAUDE_CONFIG_DIR=config_directory(paths),
        CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD="1",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        CLAUDE_CODE_DISABLE_BACKGROUND_TASKS="1",
        CLAUDE_CODE_MAX_RETRIES=str(int(plan["settings"]["max_retries"])),
        DISABLE_AUTOUPDATER="1",
        ANTHROPIC_BASE_URL=f"http://127.0.0.1:{gateway}",
        HTTP_PROXY=proxy,
        HTTPS_PROXY=proxy,
        http_proxy=proxy,
        https_proxy=proxy,
        NO_PROXY=direct,
        no_proxy=direct,
    )
    # The gateway outside puts the real credential in its place. The program obeys the limits of
    # a subscription only when it believes to have a login.
    token = plan["settings"].get("credential") == "token"
    env["CLAUDE_CODE_OAUTH_TOKEN" if token else "ANTHROPIC_API_KEY"] = "added-by-the-gateway"
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    env.setdefault("LANG", "C.UTF-8")
    return env


def launch_key(plan: Dict[str, Any]) -> Tuple[Any, ...]:
    """What a running process was started with; a plan with another key needs a new one."""
    settings = plan["settings"]
    return (
        plan["session"],
        plan["model"],
        plan["system_prompt"],
        tuple(settings["tools"]),
        tuple(allowed_tools(plan)),
        int(settings["max_retries"]),
        settings.get("credential"),
        json.dumps([plan.get("mcp_servers"), plan.get("secrets")], sort_keys=True),
    )


# --- what is said on stdin ----------------------------------------------------------------


def mail(blocks: List[Dict[str, Any]]) -> Dict[str, Any]:
    """A user message that is delivered as it is: no slash command, no file reference."""
    return dict(_user(blocks), client_composed=True)


def command(text: str) -> Dict[str, Any]:
    """A slash command of the harness's own; never other people's text."""
    return _user(text)


def interrupt(request: str) -> Dict[str, Any]:
    """Ask the program to end the running turn; a result event follows."""
    return {
        "type": "control_request",
        "request_id": request,
        "request": {"subtype": "interrupt"},
    }


def mcp_answer(request: str, message: Dict[str, Any]) -> Dict[str, Any]:
    """Answer an ``mcp_message`` control request."""
    return _control(request, {"subtype": "success", "response": {"mcp_response": message}})


def mcp_noted(request: str) -> Dict[str, Any]:
    """Answer a notification; the program wants some JSON-RPC response to it."""
    return mcp_answer(request, {"jsonrpc": "2.0", "id": 0, "result": {}})


def refusal(request: str, reason: str) -> Dict[str, Any]:
    """Answer a control request that the harness does not know."""
    return _control(request, {"subtype": "error", "error": reason})


def _control(request: str, response: Dict[str, Any]) -> Dict[str, Any]:
    return {"type": "control_response", "response": dict(response, request_id=request)}


def _user(content: Any) -> Dict[str, Any]:
    return {"type": "user", "message": {"role": "user", "content": content}}
