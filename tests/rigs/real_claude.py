"""The real claude CLI for system tests: where it is, and one headless turn with it.

It is never skipped: a host that runs the system tests has the program.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
from typing import Any

import pytest

from hyperhive import settings

VERSION = "2.1.330"


def find_claude() -> pathlib.Path:
    """The pinned program, from HIVE_TEST_CLAUDE or the test cache; else the test fails."""
    env = settings.environment()
    if env.get("HIVE_TEST_CLAUDE"):
        path = pathlib.Path(env["HIVE_TEST_CLAUDE"])
    elif env.get("HIVE_TEST_CACHE"):
        path = pathlib.Path(env["HIVE_TEST_CACHE"]) / "claude" / VERSION / "claude"
    else:
        pytest.fail(
            "no claude CLI to test with: set HIVE_TEST_CLAUDE to the program, or HIVE_TEST_CACHE "
            "to the cache of a hive that has fetched it (./check does)"
        )
    if not path.is_file():
        pytest.fail(f"no claude CLI to test with: {path} is not there")
    return path


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one turn printed."""

    events: list[dict[str, Any]]
    code: int
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        [found] = [event for event in self.events if event["type"] == "result"]
        return found

    @property
    def retries(self) -> list[Any]:
        """The status of each failed try that the CLI retried."""
        return [e["error_status"] for e in self.events if e.get("subtype") == "api_retry"]

    @property
    def tool_results(self) -> list[Any]:
        return [
            block["content"]
            for event in self.events
            if event["type"] == "user"
            for block in event["message"]["content"]
            if isinstance(block, dict) and block["type"] == "tool_result"
        ]


async def run_turn(home: pathlib.Path, base_url: str, prompt: str, *, max_retries: int = 3) -> Turn:
    """Run one turn of the CLI against *base_url*, with Bash as its only tool."""
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home / "claude"),
        "CLAUDE_CODE_TMPDIR": str(home),
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": "the-agents-own",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_MAX_RETRIES": str(max_retries),
    }
    process = await asyncio.create_subprocess_exec(
        str(find_claude()), "--print", "--verbose", "--output-format", "stream-json",
        "--model", "claude-sonnet-5", "--setting-sources", "", "--tools", "Bash",
        "--allowedTools", "Bash", "--permission-mode", "dontAsk",
        "--system-prompt", "You are tester, an agent.\nYour role: agent", prompt,
        env=env, cwd=home, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), 90)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode is not None
    return Turn(events, process.returncode, err.decode("utf-8", "replace"))
