"""What a value in ``agent.toml`` may be: one small check each, pure.

A check returns the value as it is kept, or raises `Wrong` with what is allowed. Everything here
ends up in a command line, an environment or a path of the agent's sandbox, so the rules are
allow-lists and matched in full.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any, Final

from hyperhive.domain import configuration, errors, hosts, ids

TEXT_MAX: Final = 8192
PATH_MAX: Final = 400
MEMORY_MIN: Final = 256 * 1024**2
MEMORY_MAX: Final = 4 * 1024**4
CPUS_MAX: Final = 1024.0
PROCESSES_MIN: Final = 64
PROCESSES_MAX: Final = 100_000

TOOLS: Final = (
    "Bash", "Edit", "Glob", "Grep", "Read", "Write", "TodoWrite", "NotebookEdit",
    "WebFetch", "WebSearch", "Task",
)  # fmt: skip

_UNITS: Final = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_SIZE: Final = re.compile(r"([0-9]{1,12})(KiB|MiB|GiB|TiB)")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}(\[[0-9a-z]{1,8}\])?")
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SECRET: Final = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_MCP_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")
_MCP_TOOL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# deb-control(7) for names, deb-version(7) for versions.
_APT: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}(=[0-9][A-Za-z0-9.+:~-]{0,99})?")
# PEP 508 without its markers and addresses, PEP 440 for versions.
_PIP_VERSION: Final = r"(==|!=|~=|>=|<=|>|<)[0-9][A-Za-z0-9.!+*-]{0,60}"
_PIP: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
    r"(\[[A-Za-z0-9._-]{1,60}(,[A-Za-z0-9._-]{1,60}){0,9}\])?"
    rf"({_PIP_VERSION}(,{_PIP_VERSION}){{0,4}})?"
)
_NPM: Final = re.compile(
    r"(@[a-z0-9][a-z0-9._-]{0,99}/)?[a-z0-9][a-z0-9._-]{0,99}(@[~^]?[0-9][A-Za-z0-9.+-]{0,60})?"
)

_ENV_TAKEN: Final = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TMPDIR", "IFS", "ENV",
        "BASH_ENV", "BASHOPTS", "SHELLOPTS", "PS4", "PROMPT_COMMAND", "GCONV_PATH", "LOCPATH",
        "NODE_OPTIONS", "IS_SANDBOX", "DISABLE_AUTOUPDATER", "GIT_DIR", "GIT_WORK_TREE",
        "GIT_EXEC_PATH", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY",
    }
)  # fmt: skip
# MCP_ and BUN_ steer the claude program itself, PYTHON the harness.
_ENV_TAKEN_FIRST: Final = (
    "LD_", "GLIBC_", "MALLOC_", "ANTHROPIC_", "CLAUDE", "HIVE_", "MCP_", "BUN_", "PYTHON",
    "GIT_CONFIG", "HYPERHIVE_",
)  # fmt: skip
_FILE_AREAS: Final = ("/etc/", "/opt/", "/srv/", "/usr/local/")
_FILE_TAKEN: Final = (
    "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/gitconfig", "/etc/hosts",
    "/etc/hostname", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ld.so.preload",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.cache", "/etc/sudoers", "/etc/sudoers.d",
    "/etc/pam.d", "/etc/security", "/etc/alternatives", "/etc/apt", "/etc/dpkg",
    # Settings there would govern the claude program over those of the hive.
    "/etc/claude-code", "/opt/hive",
)  # fmt: skip


class Wrong(Exception):
    """The value is not allowed; the message says what is."""


def schema(value: int) -> int:
    """The version of this contract."""
    if value != configuration.SCHEMA:
        raise Wrong(f"{configuration.SCHEMA}, the only schema that this hive knows")
    return value


def line(value: str) -> str:
    """One line of text."""
    if len(value) > 500 or "\n" in value:
        raise Wrong("one line of at most 500 characters")
    return value


def model(value: str) -> str:
    """The name of a model."""
    return _full(_MODEL, value, "a model's name, such as claude-sonnet-5")


def tool(value: str) -> str:
    """A built-in tool of the model's program."""
    if value not in TOOLS:
        raise Wrong(f"one of {', '.join(TOOLS)}")
    return value


def recipient(value: str) -> str:
    """An agent's name."""
    if value == ids.OPERATOR:
        raise Wrong("names of agents; operator and manager can always be written to")
    try:
        return ids.parse_agent_name(value, allow_manager=True)
    except errors.HiveError as error:
        raise Wrong(
            f"names of agents: up to {ids.NAME_MAX} lower-case letters, digits and single "
            "hyphens, beginning with a letter, no reserved word"
        ) from error


def host(value: str) -> str:
    """An entry of an allow-list of hosts."""
    try:
        hosts.parse_rules([value])
    except errors.HiveError as error:
        raise Wrong(
            "example.org, *.example.org, example.org:8443, git.corp=10.1.2.3 or * (every public "
            "host); no scheme, no path"
        ) from error
    return value


def apt(value: str) -> str:
    """A Debian package."""
    return _full(_APT, value, "name or name=version of a Debian package, in lower case")


def pip(value: str) -> str:
    """A Python package."""
    return _full(
        _PIP, value.replace(" ", ""), "name, name[extra] or name==1.2 (also >=, <=, ~=, !=, <, >, "
        "joined by commas) of a Python package; no address, path, marker or option",
    )  # fmt: skip


def npm(value: str) -> str:
    """A package for Node."""
    return _full(
        _NPM, value, "name, @scope/name or either with @1.2.3 (also @^1.2 and @~1.2); no address, "
        "path or tag",
    )  # fmt: skip


def split_package(system: str, value: str) -> tuple[str, str]:
    """Name and version of an accepted entry of a package system.

    The name is the same for all ways to write it, so that an entry is not there twice.
    """
    if system == "apt":
        name, _, version = value.partition("=")
        return name, version
    if system == "npm":
        name, _, version = value[1:].partition("@")
        return value[0] + name, version
    name = re.split(r"[\[=<>!~]", value)[0]
    # PEP 503
    return re.sub(r"[-_.]+", "-", name).lower(), value[len(name) :]


def env_name(value: str) -> str:
    """The name of an environment variable that is not the hive's to set."""
    upper = value.upper()
    if upper in _ENV_TAKEN or upper.startswith(_ENV_TAKEN_FIRST):
        raise Wrong(
            "variables that the hive does not set itself: not PATH, HOME, a proxy, a loader's, "
            "or one that begins with ANTHROPIC_, CLAUDE, HIVE_, MCP_, BUN_, PYTHON or GIT_CONFIG"
        )
    return _full(_ENV, value, "letters, digits and underscores, not beginning with a digit")


def env_value(value: str) -> str:
    """The value of an environment variable, or an argument."""
    if len(value) > TEXT_MAX:
        raise Wrong(f"at most {TEXT_MAX} characters")
    return value


def secret_name(value: str) -> str:
    """The name of a secret of the host, as `hive secret set` takes it."""
    allowed = "a secret's name: lower-case letters and digits, joined by single - _ or ."
    if len(value) > 64:
        raise Wrong(f"{allowed}, at most 64 characters")
    return _full(_SECRET, value, allowed)


def mcp_key(value: str) -> str:
    """The key of an MCP server; it becomes part of the names of its tools."""
    allowed = "letters and digits, joined by single - or _, at most 32 characters"
    if len(value) > 32:
        raise Wrong(allowed)
    return _full(_MCP_KEY, value, allowed)


def mcp_tool(value: str) -> str:
    """The name of a tool of an MCP server."""
    return _full(_MCP_TOOL, value, "the tool's own name, without mcp__ and the server's key")


def command(value: str) -> str:
    """A program: found on PATH, or at an absolute path."""
    relative = "/" in value and not value.startswith("/")
    if not value.strip() or len(value) > PATH_MAX or relative or "\n" in value:
        raise Wrong("a program's name on PATH, or its absolute path; arguments go into args")
    return value


def repository_path(value: str) -> str:
    """A file of the repository."""
    parts = value.split("/")
    odd = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    if odd or "\\" in value or "\n" in value or len(value) > PATH_MAX:
        raise Wrong("the path of a file in the repository, such as prompts/coder.md")
    return value


def file_target(value: str) -> str:
    """Where a file is put in the sandbox."""
    parts = value.split("/")[1:]
    normal = value.startswith("/") and not any(part in ("", ".", "..") for part in parts)
    if not normal or len(value) > PATH_MAX or "\n" in value or "\\" in value:
        raise Wrong("an absolute path without . and .., such as /etc/tool/settings.yaml")
    taken = [path for path in _FILE_TAKEN if value == path or value.startswith(f"{path}/")]
    if taken:
        raise Wrong(f"a path that is not the hive's: {taken[0]} is")
    if not value.startswith(_FILE_AREAS):
        raise Wrong(f"a path below {', '.join(area[:-1] for area in _FILE_AREAS)}")
    return value


def size(value: int | str) -> int:
    """A number of bytes."""
    allowed = 'a size such as "4GiB" or "512MiB" (KiB, MiB, GiB, TiB), or a number of bytes'
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.replace(" ", ""))
        if found is None:
            raise Wrong(allowed)
        value = int(found[1]) * _UNITS[found[2]]
    if not MEMORY_MIN <= value <= MEMORY_MAX:
        raise Wrong(f"{allowed}, from 256MiB to 4TiB")
    return value


def cpus(value: float) -> float:
    """Processor time, in whole processors."""
    if not 0.1 <= value <= CPUS_MAX or math.isnan(value):
        raise Wrong(f"a number of processors from 0.1 to {CPUS_MAX:g}")
    return float(value)


def processes(value: int) -> int:
    """Processes and threads."""
    if not PROCESSES_MIN <= value <= PROCESSES_MAX:
        raise Wrong(f"a whole number from {PROCESSES_MIN} to {PROCESSES_MAX}")
    return value


def find_unreadable(text: str, *, prose: bool = False) -> tuple[int, str] | None:
    """Where *text* has a character that a reader does not see, and which; None when nowhere.

    Tab and line feed are fine. *prose* also allows the joiners that emoji and some scripts need.
    """
    for at, character in enumerate(text):
        if character in "\t\n" or (prose and character in "\u200c\u200d"):
            continue
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            return at, f"U+{ord(character):04X}"
    return None


def _full(pattern: re.Pattern[str], value: Any, allowed: str) -> str:
    if pattern.fullmatch(value) is None:
        raise Wrong(allowed)
    return value
