"""What a configuration says counts in the real agent, and its secrets are seen nowhere else."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator

import pytest
from tests.system import hive_process as hives
from tests.system.configuring import bash, built, configured_hive, ends, idle, proposes, says

from rigs import mcp_probe

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

VALUES = {"git-token": "gl-pat-0123456789", "probe-token": "probe-${x}-secret"}
CONFIG = """\
description = "looks around"
model = "claude-opus-5"
prompt = "prompt.md"
tools = ["Bash"]
recipients = ["manager"]
allowed_hosts = ["nowhere.invalid"]

[environment]
GREETING = "grüße, ${HOME}"

[secrets]
GIT_TOKEN = "git-token"
AWAY = "not-there"

[files]
"/opt/probe/server.py" = "server.py"

[limits]
processes = 300

[mcp_servers.probe]
command = "python3"
args = ["/opt/probe/server.py", "--greeting=${GREETING}"]
allowed_tools = ["look"]
[mcp_servers.probe.secrets]
PROBE_TOKEN = "probe-token"

[mcp_servers.dead]
command = "/opt/probe/nothing"
"""


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    with configured_hive(tmp_path / "home", test_cache) as process:
        yield process


def files_with(value: str, top: pathlib.Path) -> list[str]:
    """Every file below *top* that holds *value*; the sessions of the program are its own."""
    found: list[str] = []
    for place, directories, names in os.walk(top):
        directories[:] = [name for name in directories if name != ".claude"]
        for path in (pathlib.Path(place, name) for name in names):
            if path.is_file() and not path.is_symlink() and value.encode() in path.read_bytes():
                found.append(str(path.relative_to(top)))
    return sorted(found)


def command_lines() -> str:
    """The command line of everything that runs."""
    found = b""
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += entry.read_bytes()
        except OSError:
            continue
    return found.decode("utf-8", "replace")


def test_it_all_counts_and_secrets_stay_where_they_belong(hive: hives.HiveProcess) -> None:
    for name, value in VALUES.items():
        hive.ask("secret", "set", name, stdin=value + "\n")
    server = pathlib.Path(mcp_probe.__file__).read_text()
    write = (
        f"cat > agent.toml <<'END'\n{CONFIG}END\ncat > server.py <<'END'\n{server}END\n"
        "echo 'Look before you leap.' > prompt.md"
    )
    number = proposes(hive, write, "Let coder look around")["approval"]
    card = built(hive, number)
    assert card["missing_secrets"] == ["not-there"]
    risks = {
        (change["topic"], change["name"])
        for change in card["effects"]["changes"]
        if change["weight"] == "risk"
    }
    assert risks >= {
        ("secrets", "GIT_TOKEN"),
        ("secrets", "PROBE_TOKEN of MCP server probe"),
        ("mcp", "probe"),
        ("hosts", "nowhere.invalid"),
    }
    hive.ask("approve", str(number))
    ends(hive, number, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))

    looked = json.loads(says(hive, "coder", {"tool": "mcp__probe__look", "input": {}}))
    assert looked["args"] == ["--greeting=grüße, ${HOME}"]
    assert looked["env"]["PROBE_TOKEN"] == VALUES["probe-token"]
    assert looked["env"]["GIT_TOKEN"] == VALUES["git-token"]
    shell = says(
        hive,
        "coder",
        bash('echo "$GREETING|$GIT_TOKEN|${PROBE_TOKEN-none}|${AWAY-none}"; '
             "curl -sS -o /dev/null -w '%{http_code}' http://nowhere.invalid; "
             "curl -sS -o /dev/null -w ' %{http_code}' http://else.invalid; true"),
    )  # fmt: skip
    first, _, codes = shell.strip().partition("\n")
    assert first == f"grüße, ${{HOME}}|{VALUES['git-token']}|none|none"
    # 502: allowed and not there; 403: not allowed.
    assert "502" in codes and "403" in codes, codes
    denied = says(hive, "coder", {"tool": "mcp__probe__other", "input": {}})
    assert "denied" in denied

    row = hive.agent("coder")
    assert row is not None
    assert row["model"] == "claude-opus-5"
    assert row["recipients"] == ["manager"]
    assert row["mcp_servers"] == [
        {"name": "probe", "status": "connected"},
        {"name": "dead", "status": "failed"},
    ]
    assert len(row["trouble"]) == 1 and "hive secret set not-there" in row["trouble"][0]
    assert hive.ask("turns", "coder")["turns"][0]["model"] == "claude-opus-5"
    watched = hive.run("watch", "coder", "--json", "-n", "500", "--no-follow").stdout
    assert "Look before you leap." not in watched

    # Mail is what the agent wrote itself; everything that the hive wrote down has no secret.
    lines = command_lines()
    log = hive.log()
    for name, value in VALUES.items():
        assert value not in lines
        assert value not in log
        kept = [path for path in files_with(value, hive.home) if not path.startswith("store/hive")]
        assert kept == [f"secrets/agent-secret-{name}"], kept


def test_a_secret_that_comes_later_is_there_in_the_next_turn(hive: hives.HiveProcess) -> None:
    write = "printf '[secrets]\\nTOKEN = \"late-token\"\\n' > agent.toml"
    number = proposes(hive, write, "A secret that nobody has set")["approval"]
    built(hive, number)
    hive.ask("approve", str(number))
    ends(hive, number, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))
    look = bash('echo "${TOKEN-none}"')
    assert says(hive, "coder", look).strip() == "none"
    assert [one["set_at"] for one in hive.ask("secret", "list")["secrets"]] == [None]
    hive.ask("secret", "set", "late-token", stdin="here-it-is")
    assert says(hive, "coder", look).strip() == "here-it-is"
    hive.ask("secret", "delete", "late-token")
    assert says(hive, "coder", look).strip() == "none"
