"""What `agent.toml` may say, and in which words it is refused."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import configuration, errors
from hyperhive.services import agent_toml, seeds
from hyperhive.services import configuration_keys as keys

FULL = """\
schema = 1
description = "writes the code"
model = "claude-sonnet-5[1m]"
prompt = "prompt.md"
tools = ["Bash", "WebFetch"]
recipients = ["reviewer", "manager"]
allowed_hosts = ["api.example.org", "*.example.net:8443"]

[packages]
apt = ["jq", "postgresql-client=15+248"]
pip = ["httpx==0.27.2", "rich[jupyter] >= 13, <14"]
npm = ["prettier@3.3.3", "@biomejs/biome@^1.9"]

[environment]
TZ = "Europe/Berlin"

[secrets]
GITLAB_TOKEN = "gitlab-read"

[files]
"/etc/tool/settings.yaml" = "files/settings.yaml"

[limits]
memory = "8GiB"
cpus = 2
processes = 1024

[mcp_servers.clock]
command = "clock-mcp"
args = ["--zone", "UTC", "--zone", "CET"]
allowed_tools = ["now"]
[mcp_servers.clock.env]
LEVEL = "debug"
[mcp_servers.clock.secrets]
API_TOKEN = "clock-token"
"""
FILES = {
    "agent.toml": FULL.encode(),
    "prompt.md": "Write tests first. 👩‍💻\n".encode(),
    "files/settings.yaml": b"a: 1\n",
}


def refused(text: str) -> list[str]:
    """The problems of the refusal."""
    with pytest.raises(errors.HiveError) as caught:
        agent_toml.parse(text)
    assert caught.value.kind is errors.ErrorKind.INVALID
    said = caught.value.message.removeprefix("cannot use this configuration: ")
    assert said != caught.value.message
    first, *lines = said.splitlines()
    return lines or [first]


def test_everything_that_it_can_say() -> None:
    assert agent_toml.load(FILES) == configuration.Configuration(
        description="writes the code",
        model="claude-sonnet-5[1m]",
        prompt="prompt.md",
        prompt_text="Write tests first. 👩‍💻\n",
        packages=configuration.Packages(
            apt=("jq", "postgresql-client=15+248"),
            pip=("httpx==0.27.2", "rich[jupyter]>=13,<14"),
            npm=("prettier@3.3.3", "@biomejs/biome@^1.9"),
        ),
        environment={"TZ": "Europe/Berlin"},
        files={"/etc/tool/settings.yaml": "files/settings.yaml"},
        mcp_servers={
            "clock": configuration.McpServer(
                command="clock-mcp",
                args=("--zone", "UTC", "--zone", "CET"),
                env={"LEVEL": "debug"},
                secrets={"API_TOKEN": "clock-token"},
                allowed_tools=("now",),
            )
        },
        tools=("Bash", "WebFetch"),
        recipients=("reviewer", "manager"),
        allowed_hosts=("api.example.org", "*.example.net:8443"),
        limits=configuration.Limits(8 * 1024**3, 2.0, 1024),
        secrets={"GITLAB_TOKEN": "gitlab-read"},
    )


def test_an_empty_file_changes_nothing() -> None:
    assert agent_toml.parse("") == configuration.Configuration()
    assert agent_toml.load({"agent.nix": b"{}"}) == configuration.Configuration()


def test_empty_lists_say_more_than_no_lists() -> None:
    read = agent_toml.parse('tools = []\nrecipients = []\nmcp_servers.a = {command = "a", '
                            'allowed_tools = []}')  # fmt: skip
    assert (read.tools, read.recipients) == ((), ())
    assert read.mcp_servers["a"].allowed_tools == ()


def test_all_that_is_wrong_is_said_at_once_with_its_line() -> None:
    assert refused(
        'schema = 2\nmodle = "x"\n\n[packages]\napt = [\n  "jq",\n  "jq; rm -rf /",\n]\n'
        'brew = []\n[limits]\nmemory = "4GB"\ncpus = "2"\n[mcp_servers.clock]\nargs = ["x"]\n'
    ) == [
        "agent.toml:1: schema = 2: allowed: 1, the only schema that this hive knows",
        "agent.toml:2: modle: unknown key; allowed: schema, description, model, prompt, tools, "
        "recipients, allowed_hosts, packages, environment, secrets, files, limits, mcp_servers; "
        "did you mean model?",
        'agent.toml:7: packages.apt[1] = "jq; rm -rf /": allowed: name or name=version of a '
        "Debian package, in lower case",
        "agent.toml:9: packages.brew: unknown key; allowed: apt, pip, npm",
        'agent.toml:11: limits.memory = "4GB": allowed: a size such as "4GiB" or "512MiB" (KiB, '
        "MiB, GiB, TiB), or a number of bytes",
        'agent.toml:12: limits.cpus = "2": allowed: a number',
        "agent.toml:13: mcp_servers.clock: command is missing: The program of an extra MCP "
        "server, which talks over standard input and output: a name on PATH or an absolute path.",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "agent.toml:1: this is not TOML: Invalid value"),
        ("a = 1\na = 2", "agent.toml:2: this is not TOML: Cannot overwrite a value"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "this is not TOML"),
        ('description = "a"\r\n', "(U+000D); end lines with a line feed alone"),
        ('a = 1\n# \u202e', "agent.toml:2: a character that no reader sees (U+202E)"),
        ('description = "\\u0007"', "without characters that no reader sees (U+0007)"),
        ('[environment]\n"A\\u200b" = "x"', "names without characters that no reader sees"),
        ("\ud800", "byte 1 is not UTF-8"),
        ("x" * 70_000, "the file has 70000 bytes; allowed: 65536"),
        ("schema = true", "schema = true: allowed: a whole number"),
        ("packages = 1", "packages = 1: allowed: a table, [packages]"),
        ("packages.apt = 'jq'", 'packages.apt = "jq": allowed: a list of texts'),
        ("[packages]\nallowed_hosts = []", "it belongs to the top of the file"),
        ("memory = 1", "limits has a key of that name"),
        ("tools = ['bash']", "did you mean Bash?"),
        ("recipients = ['operator']", "operator and manager can always be written to"),
        ("recipients = ['a', 'a']", 'recipients[1] = "a": it stands there twice'),
        ("packages.pip = ['Foo_Bar', 'foo-bar==1']", "packages.pip[1]"),
        ("packages.npm = ['@a/b', '@a/b@1.0.0']", "packages.npm[1]"),
        ("packages.apt = ['jq=1', 'jq']", "packages.apt[1]"),
        ("secrets.A = 'a'\nenvironment.A = 'b'", "1: secrets.A: environment sets the same"),
        ("[mcp_servers.a]\ncommand = 'a'\nenv.A = 'x'\nsecrets.A = 'y'", "4: mcp_servers.a.sec"),
        ("[files]\n'/etc/a' = 'x'\n'/etc/a/b' = 'y'", "/etc/a is a file already"),
        ("description = '''a\nb'''", "one line of at most 500 characters"),
        ("mcp_servers.a__b.command = 'x'", "this name cannot be used"),
        ("mcp_servers.a = 'x'", "allowed: a table, [mcp_servers.a]"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong(text: str, said: str) -> None:
    lines = refused(text)
    assert len(lines) == 1, lines
    assert said in lines[0]


BAD = {
    "model": ["", "two words", "-x", "m\n"],
    "prompt": ["/etc/x", "../x", "a//b", "a/../b", "", ".git/config", "a\\b"],
    "allowed_hosts": ["http://example.org", "2130706433", "a b", "", "*.10.1.2.3"],
    "packages.apt": ["-o", "jq:amd64", "JQ", "./jq.deb", "jq=", "jq=1 2", "j", "jq=-1"],
    "packages.pip": ["-r x", "git+https://x", "x @ https://y", "./x", "x;python_version>'3'",
                     "--index-url=x", "x==", "x===1", ""],
    "packages.npm": ["git+ssh://x", "x@latest", "../x", "@x", "X", "x@npm:y", "x@file:y", "-g"],
    "mcp_servers.a.command": ["", " ", "./server", "bin/server", "a\nb"],
    "mcp_servers.a.allowed_tools": ["mcp__a__b c", "a.b", ""],
    "secrets.A": ["", "A", "../x", "a/b", "-a", "a" * 65, "a.", ".a"],
    "files.'/etc/a'": ["", "/x", "../x"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(key, one) for key in BAD for one in BAD[key]])
def test_a_value_that_is_refused(key: str, value: str) -> None:
    shown = json.dumps(value)
    is_list = key in ("allowed_hosts",) or key.startswith("packages") or "allowed" in key
    text = f"{key} = [{shown}]" if is_list else f"{key} = {shown}"
    if key.endswith("allowed_tools"):
        text += "\nmcp_servers.a.command = 'x'"
    assert any("allowed: " in line for line in refused(text))


@pytest.mark.parametrize(
    "name",
    ["PATH", "path", "LD_PRELOAD", "HOME", "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR", "CLAUDECODE",
     "HIVE_HARNESS_SOCKET", "http_proxy", "HTTPS_PROXY", "No_Proxy", "PYTHONPATH", "BUN_OPTIONS",
     "NODE_OPTIONS", "BASH_ENV", "MCP_TIMEOUT", "GIT_CONFIG_COUNT", "1A", "A-B", "A B", ""],
)  # fmt: skip
@pytest.mark.parametrize(
    "table", ["environment", "secrets", "mcp_servers.a.env", "mcp_servers.a.secrets"]
)
def test_a_variable_that_nobody_may_set(table: str, name: str) -> None:
    text = f'{table}.{json.dumps(name)} = "x"\nmcp_servers.a.command = "x"'
    [line] = refused(text)
    assert "this name cannot be used; allowed: " in line


@pytest.mark.parametrize(
    "target",
    ["etc/x", "/etc/../state/x", "/etc//x", "/etc/.", "/state/x", "/run/hive/x", "/proc/1/mem",
     "/dev/x", "/etc/passwd", "/etc/gitconfig", "/etc/claude-code/managed-settings.json",
     "/opt/hive/claude", "/usr/bin/git", "/", "/etc", "/etc/ld.so.preload", "/tmp/x", "/usr/local"],
)  # fmt: skip
def test_a_place_where_no_file_may_go(target: str) -> None:
    [line] = refused(f'files.{json.dumps(target)} = "x"')
    assert "this name cannot be used; allowed: " in line


def test_the_own_server_is_left_out_with_a_warning() -> None:
    text = '[mcp_servers.Hive]\ncommand = "evil"\n[mcp_servers.a]\ncommand = "a"\n'
    reading = agent_toml.read(text.encode())
    assert reading.configuration is not None
    assert list(reading.configuration.mcp_servers) == ["a"]
    assert [str(warning) for warning in reading.warnings] == [
        "agent.toml:1: mcp_servers.Hive: left out: every agent has the hive's own server of that "
        "name"
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"agent.toml": None}, "the file is missing"),
        ({"prompt.md": None, "prompts.md": b""}, "did you mean prompts.md?"),
        ({"prompt.md": None, "prompt.md/x": b""}, "this is a directory"),
        ({"prompt.md": b"\xff"}, "byte 1 is not UTF-8"),
        ({"prompt.md": b"a\n\x1b[0m"}, "its line 2 has a character that no reader sees (U+001B)"),
        ({"prompt.md": "\U000e0041".encode()}, "(U+E0041)"),
        ({"prompt.md": b"x" * 65537}, "65537 bytes; allowed: 65536"),
        ({"files/settings.yaml": None}, "no such file in the commit"),
        ({"files/settings.yaml": b"x" * (1024 * 1024 + 1)}, "1048577 bytes; allowed: 1048576"),
    ],
)
def test_files_that_it_names(files: dict[str, bytes | None], said: str) -> None:
    given = {path: content for path, content in (FILES | files).items() if content is not None}
    with pytest.raises(errors.HiveError) as caught:
        agent_toml.load(given)
    assert said in caught.value.message


def test_many_problems_are_counted_not_listed() -> None:
    lines = refused("\n".join(f"k{number} = 1" for number in range(60)))
    assert lines[-1] == "and 10 more"
    assert len(lines) == 51


def test_every_example_of_the_reference_is_accepted() -> None:
    for key in keys.KEYS:
        table = ".".join("a" if part == keys.ANY else part for part in key.path[:-1])
        text = f"{table}.{key.example}" if table else key.example
        if table.startswith("mcp_servers") and key.path[-1] != "command":
            text += "\nmcp_servers.a.command = 'x'"
        assert agent_toml.parse(text) != configuration.Configuration() or key.name == "schema"


def test_what_the_documentation_shows_can_be_used() -> None:
    page = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"
    [example] = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    files = {"agent.toml": example.encode(), "prompt.md": b"", "server.py": b""}
    assert agent_toml.load(files).mcp_servers["clock"].command == "python3"


def test_what_a_new_agent_begins_with_can_be_used_with_and_without_its_comments(make_desk) -> None:
    agent = asyncio.run(make_desk().agent("coder"))
    files = seeds.files(agent)
    begun = agent_toml.load(files)
    prompt = files["prompt.md"].decode()
    assert begun == configuration.Configuration(prompt="prompt.md", prompt_text=prompt)
    wide = re.sub(r"(?m)^# (?=\[|[a-zA-Z_\"/.]+ = )", "", files["agent.toml"].decode())
    read = agent_toml.load(files | {"agent.toml": wide.encode(), "files/settings.yaml": b""})
    assert read.packages.apt == ("jq",)
    assert read.mcp_servers["clock"].allowed_tools == ("now",)
    assert read.limits.processes == 512


def test_the_schema_for_editors_knows_every_key() -> None:
    schema = keys.json_schema()
    assert schema["properties"]["packages"]["properties"].keys() == {"apt", "pip", "npm"}
    server = schema["properties"]["mcp_servers"]["additionalProperties"]
    assert server["required"] == ["command"]
    assert server["properties"]["env"]["additionalProperties"]["type"] == "string"
    assert schema["properties"].keys() == set(keys.members(()))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_whatever_stands_there_is_read_or_refused(content: bytes) -> None:
    reading = agent_toml.examine({"agent.toml": content})
    assert (reading.configuration is None) == bool(reading.problems)


_names = st.sampled_from([*keys.members(()), "x", "hive", "A", "apt", "memory", "command"])
_leaves = st.sampled_from(['"x"', "1", "[]", '["x", 1]', "true", "{}", "0.5", "1979-05-27"])
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(st.tuples(_names, inner), max_size=3, unique_by=lambda one: one[0]).map(
        lambda all_: "{" + ",".join(f"{key} = {value}" for key, value in all_) + "}"
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(_names, _values), max_size=6))
def test_every_shape_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in pairs)
    reading = agent_toml.examine({"agent.toml": text.encode(), "x": b"x"})
    assert (reading.configuration is None) == bool(reading.problems)
    for problem in reading.problems:
        assert 1 <= problem.line <= len(pairs), text
