"""Configuration in git, for real: the manager commits, the operator decides, the agent runs it.

The real claude program in real sandboxes on the base root, real git, real packages; only the
model is scripted. What the story says is what `git show` says afterwards.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from tests.system import hive_process as hives
from tests.system.configuring import (
    bash,
    built,
    configured_hive,
    ends,
    git,
    idle,
    proposes,
    says,
)
from tests.system.configuring import forge as running_forge

from rigs import mcp_probe

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]


@pytest.fixture
def forge(tmp_path: pathlib.Path) -> Iterator[dict[str, str]]:
    with running_forge(tmp_path / "forge") as started:
        yield started


@pytest.fixture
def hive(
    tmp_path: pathlib.Path, test_cache: pathlib.Path, forge: dict[str, str]
) -> Iterator[hives.HiveProcess]:
    with configured_hive(tmp_path / "home", test_cache, HIVE_FORGE_URL=forge["url"]) as process:
        assert process.run("forge", "set-token", stdin=forge["token"]).returncode == 0
        yield process


def refs_of(forge: dict[str, str], name: str) -> dict[str, str]:
    """What a person with the account sees on the forge: full refs, tags peeled."""
    address = forge["url"].replace("://", f"://hive:{forge['token']}@")
    listed = git(pathlib.Path("/"), "ls-remote", f"{address}/agent-configs/{name}.git")
    pairs = [line.split("\t") for line in listed.splitlines()]
    return {ref: sha for sha, ref in pairs if ref != "HEAD"}


CONFIG = """\
schema = 1
description = "counts trees"

[packages]
apt = ["tree"]

[mcp_servers.probe]
command = "/usr/bin/python3"
args = ["/opt/probe/server.py"]

[files]
"/opt/probe/server.py" = "server.py"
"""


def test_from_a_commit_to_a_tool_and_back(hive: hives.HiveProcess, forge: dict[str, str]) -> None:
    coder = hive.agent("coder")
    assert coder is not None
    applied = hive.home / "applied" / f"{coder['id']}.git"
    server = pathlib.Path(mcp_probe.__file__).read_text()
    before = says(hive, "coder", bash("command -v tree || echo no tree"))
    assert before.strip() == "no tree"

    # The manager proposes a package and an MCP server; it is built before anybody clicks.
    write = f"cat > agent.toml <<'END'\n{CONFIG}END\ncat > server.py <<'END'\n{server}END"
    asked = proposes(hive, write, "Give coder tree and a probe")
    number, sha = asked["approval"], asked["sha"]
    card = built(hive, number)
    assert {effect["topic"] for effect in card["effects"]["changes"]} >= {
        "packages",
        "mcp",
        "files",
    }
    assert card["proposal"]["sha"] == sha
    hive.ask("approve", str(number))
    ends(hive, number, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))
    assert "/usr/bin/tree" in says(hive, "coder", bash("command -v tree"))
    seen = says(hive, "coder", {"tool": "mcp__probe__look", "input": {}})
    assert "args" in seen, seen

    # A broken proposal fails with its log, and coder still runs what it had.
    broken = proposes(hive, 'sed -i \'s/"tree"/"no-such-package-at-all"/\' agent.toml', "Break it")
    failed = ends(hive, broken["approval"], "failed")
    assert "no-such-package-at-all" in failed["note"]
    log = (hive.home / "build" / f"{broken['approval']}.log").read_text()
    assert "no-such-package-at-all" in log
    assert "/usr/bin/tree" in says(hive, "coder", bash("command -v tree"))

    # A denial reaches the manager with its note.
    denied = proposes(hive, "git reset -q --hard HEAD~1 && echo >> prompt.md", "Change the prompt")
    built(hive, denied["approval"])
    hive.ask("deny", str(denied["approval"]), "--note", "not like this")
    ends(hive, denied["approval"], "denied")
    hive.until(
        "the manager hears of it",
        lambda: any(
            "not like this" in row["body"] and row["to"] == "manager"
            for row in hive.ask("messages", "--limit", "200")["messages"]
        ),
    )

    # A rollback brings the old state back, on the same road.
    back = hive.ask("rollback", "coder", "deployed/0")["id"]
    built(hive, back)
    hive.ask("approve", str(back))
    ends(hive, back, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))
    assert says(hive, "coder", bash("command -v tree || echo no tree")).strip() == "no tree"

    # And git tells it all.
    tags = set(git(applied, "tag").split())
    assert tags >= {
        "deployed/0", f"proposal/{number}", f"approved/{number}", f"building/{number}",
        f"deployed/{number}", f"failed/{broken['approval']}", f"denied/{denied['approval']}",
        f"deployed/{back}",
    }  # fmt: skip
    assert git(applied, "rev-parse", f"deployed/{number}^{{commit}}") == sha
    assert "no-such-package-at-all" in git(applied, "show", f"failed/{broken['approval']}")
    assert "not like this" in git(applied, "show", f"denied/{denied['approval']}")
    assert git(applied, "rev-parse", "main") == git(applied, "rev-parse", f"deployed/{back}^{{}}")
    assert git(applied, "diff", "deployed/0", f"deployed/{back}") == ""
    subjects = git(hive.home / "meta", "log", "--format=%s").splitlines()
    assert f"deploy coder deployed/{number} {sha[:12]}" in subjects
    assert not [line for line in subjects if f"/{broken['approval']} " in line]
    seen_by_manager = says(
        hive, "manager",
        bash(f"cd /agents/coder/config && git fetch -q applied && git show -s deployed/{number} && "
             "git -C /meta log --oneline | head -3"),
    )  # fmt: skip
    assert sha in seen_by_manager

    # The forge has it all, too: the same refs, coder's and meta's.
    listed = git(applied, "show-ref", "--dereference").splitlines()
    own = {ref: sha for sha, ref in (line.split(" ") for line in listed)}
    hive.until("the forge has coder's refs", lambda: refs_of(forge, "coder") == own, 60)
    newest = git(hive.home / "meta", "rev-parse", "main")
    hive.until(
        "the forge has meta", lambda: refs_of(forge, "meta")["refs/heads/main"] == newest, 60
    )
    states = {row["name"]: row["state"] for row in hive.ask("forge", "status")["repositories"]}
    assert states == {"coder": "in_step", "manager": "in_step", "meta": "in_step"}
    assert hive.run("doctor").stdout.count(forge["token"]) == 0
