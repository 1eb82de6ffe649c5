"""Every setting of a hive, read once into one frozen object.

Order: the defaults here, then ``hive.toml`` in the hive's home, then environment
variables ``HIVE_…``, then command-line options. ``docs/generated/settings.md``
is written from this class.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
import tomllib
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from hyperhive.domain import errors


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the host decides. Durations are seconds, sizes bytes."""

    home: pathlib.Path
    """Everything of this hive lies below it."""
    cache: pathlib.Path
    """Base root file systems and claude binaries by content; may be shared between hives."""
    host: str = "127.0.0.1"
    """Address of the page; anything but loopback is refused."""
    port: int = 7000
    """Port of the page; 0 takes a free one."""
    hive_name: str = "hive"
    """What prompts and the page call this hive."""
    operator_pronouns: str = "she/her"
    """Free text; reaches every agent's prompt at its next turn."""
    model: str = "claude-sonnet-5"
    """Model of agents that have none of their own."""
    upstream: str = "https://api.anthropic.com"
    """Where the model gateway sends requests (ANTHROPIC_BASE_URL)."""
    https_proxy: str = dataclasses.field(default="", repr=False)
    """Proxy on the way to an upstream with https, ``http://[USER:PASSWORD@]HOST:PORT``."""
    http_proxy: str = dataclasses.field(default="", repr=False)
    """The same for an upstream with plain http; one on loopback is asked directly."""
    no_proxy: str = ""
    """Hosts that are reached without a proxy: names with all below them, addresses, networks."""
    api_key: str = dataclasses.field(default="", repr=False)
    """An API key from the environment (ANTHROPIC_API_KEY); a stored one wins."""
    auth_token: str = dataclasses.field(default="", repr=False)
    """A long-lived token from the environment (CLAUDE_CODE_OAUTH_TOKEN)."""
    demo: bool = False
    """Use the built-in scripted model instead of a real one."""
    sandbox: str = "auto"
    """``auto``, ``base`` (own root file system) or ``host`` (read-only view of the host's /usr)."""
    admin_group: str = ""
    """Group that owns the admin socket; empty: the daemon's own."""
    uid_base: int = 0
    """As root, agents run as host uid ``uid_base`` + their slot; 0 takes a range of its own."""
    memory_bytes: int = 4 * 1024**3
    """Memory of one agent's sandbox with everything that runs in it."""
    cpus: float = 2.0
    """Processor time of one agent's sandbox, in whole processors."""
    processes: int = 512
    """Processes and threads of one agent's sandbox."""
    warm_seconds: float = 180.0
    """How long a claude process is kept after its last turn."""
    warm_bytes: int = 600 * 1024**2
    """A claude process larger than this is not kept."""
    turn_seconds: float = 3600.0
    """A turn that takes longer is ended and its mail returned."""
    compact_at: float = 0.75
    """The share of a model's window that a session may fill; then it is compacted. 1: never."""
    api_retries: int = 4
    """How often the claude CLI retries one failed API request."""
    tools: tuple[str, ...] = (
        "Bash", "Edit", "Glob", "Grep", "Read", "Write", "TodoWrite", "NotebookEdit",
    )  # fmt: skip
    """Built-in tools of every agent."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that agents may reach through the egress proxy, ``*.example.org`` for subdomains."""
    agent_usd_per_day: float = 0.0
    """Budget of each agent that has none of its own, at list prices; 0: none (docs/budgets.md)."""
    agent_tokens_per_day: int = 0
    """The same in tokens of all kinds."""
    hive_usd_per_day: float = 0.0
    """Budget of all agents together, unless `hive budget` set another; 0: none."""
    hive_tokens_per_day: int = 0
    """The same in tokens of all kinds."""
    loop_messages: int = 40
    """Two agents that exchange more messages in loop_minutes, alone, are paused; 0: never."""
    loop_minutes: float = 30.0
    """What loop_messages counts over, and how long the pause is."""
    live_days: float = 7.0
    """How long terminal events are kept."""
    session_seconds: float = 12 * 3600.0
    """How long an operator's sign-in lasts."""
    crash_limit: int = 5
    """Crashes in a row after which an agent is halted."""
    builder: str = "layers"
    """How configurations are built: ``layers`` (any Linux) or ``nix`` (a host with Nix)."""
    nix_nixpkgs: str = "github:NixOS/nixpkgs/nixos-25.05"
    """With builder nix: the flake that packages come from."""
    nix_hyperhive: str = ""
    """With builder nix: a flake with the modules ``agent`` and ``manager``; empty: our own."""
    nix_inputs: tuple[str, ...] = ("github:", "gitlab:", "sourcehut:", "git+https://", "https://")
    """With builder nix: what the inputs of an agent's flake may begin with."""
    nix_substituters: tuple[str, ...] = ("https://cache.nixos.org",)
    """With builder nix on a store of the hive's own: binary caches; none: builds are offline."""
    nix_keys: tuple[str, ...] = ("cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",)
    """Public keys of those caches."""
    health_seconds: float = 60.0
    """How long an agent may take to answer after a deploy before the old generation comes back."""
    proposal_days: float = 7.0
    """After this time a proposal that nobody decided has expired."""
    proposals_per_day: int = 50
    """How many requests one agent may make in 24 hours."""
    forge_url: str = ""
    """Root of the Forgejo that keeps a copy of every configuration; empty: there is none."""
    forge_organisation: str = "agent-configs"
    """The organisation there, which is kept private; made if it is missing."""
    skip_migration: bool = False
    """Do not bring over what the older hyperhive has left (docs/migration.md)."""


ENVIRONMENT = {
    "HIVE_HOME": "home",
    "HIVE_CACHE": "cache",
    "HIVE_HOST": "host",
    "HIVE_PORT": "port",
    "HIVE_NAME": "hive_name",
    "HIVE_MODEL": "model",
    "HIVE_SANDBOX": "sandbox",
    "HIVE_ADMIN_GROUP": "admin_group",
    "HIVE_FORGE_URL": "forge_url",
    "HIVE_FORGE_ORGANISATION": "forge_organisation",
    "HIVE_UID_BASE": "uid_base",
    "HIVE_SKIP_META_MIGRATION": "skip_migration",
    "HIVE_WARM_SECONDS": "warm_seconds",
    "HIVE_API_RETRIES": "api_retries",
    "HIVE_COMPACT_AT": "compact_at",
    "ANTHROPIC_BASE_URL": "upstream",
    # Where both are set the small one wins, as with curl.
    "HTTPS_PROXY": "https_proxy",
    "https_proxy": "https_proxy",
    "HTTP_PROXY": "http_proxy",
    "http_proxy": "http_proxy",
    "NO_PROXY": "no_proxy",
    "no_proxy": "no_proxy",
    "ANTHROPIC_API_KEY": "api_key",
    "CLAUDE_CODE_OAUTH_TOKEN": "auth_token",
}

_AT_LEAST = {
    "processes": 16,
    "warm_seconds": 0,
    "warm_bytes": 0,
    "turn_seconds": 1,
    "api_retries": 0,
    "agent_usd_per_day": 0,
    "agent_tokens_per_day": 0,
    "hive_usd_per_day": 0,
    "hive_tokens_per_day": 0,
    "loop_messages": 0,
    "loop_minutes": 1,
    "live_days": 0,
    "session_seconds": 60,
    "crash_limit": 1,
    "health_seconds": 1,
    "proposal_days": 0,
    "proposals_per_day": 1,
}
UID_BASE_MIN = 65_536
"""Below are the people and services of a host."""
UID_BASE_MAX = 2_000_000_000
"""Above, some programs take uids for negative numbers."""


def environment() -> dict[str, str]:
    """The process environment; this module is its only reader."""
    return dict(os.environ)  # noqa: TID251 - the one reader


def proxies(env: Mapping[str, str]) -> dict[str, str]:
    """The host's proxy variables, for what is fetched while preparing it."""
    return {name: value for name, value in env.items() if name.lower().endswith("_proxy")}


def default_home(env: Mapping[str, str]) -> pathlib.Path:
    """``/var/lib/hyperhive`` for root, else ``$XDG_DATA_HOME/hyperhive``."""
    if os.geteuid() == 0:
        return pathlib.Path("/var/lib/hyperhive")
    data = env.get("XDG_DATA_HOME") or str(pathlib.Path(env.get("HOME", "/")) / ".local/share")
    return pathlib.Path(data) / "hyperhive"


def load(env: Mapping[str, str], options: Mapping[str, Any]) -> Settings:
    """Build the settings; `HiveError` INVALID names the file or variable and what is allowed.

    *options* are command-line options by field name; None means not given.
    """
    given: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    home = pathlib.Path(given.get("home") or env.get("HIVE_HOME") or default_home(env)).absolute()
    values: dict[str, Any] = {}
    path = home / "hive.toml"
    try:
        values.update(tomllib.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        # A home that is no directory is refused by whoever needs one.
        pass
    except OSError as error:
        raise errors.invalid(
            f"cannot read {path}: {error.strerror}; mend it or move it away"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise errors.invalid(
            f"cannot read {path}: it is not TOML: {error}; mend it or move it away"
        ) from error
    _refuse_unknown(values, path)
    sources = dict.fromkeys(values, str(path))
    for variable, field in ENVIRONMENT.items():
        if env.get(variable):
            values[field] = env[variable]
            sources[field] = variable
    for field, value in given.items():
        values[field] = value
        sources[field] = f"--{field.replace('_', '-')}"
    for field in ("https_proxy", "http_proxy"):
        if values.get(field):
            values[field] = _proxy_url(str(values[field]), sources[field])
    values["home"] = home
    values["cache"] = pathlib.Path(values.get("cache") or home / "cache").absolute()
    settings = _convert(values, sources)
    _check(settings)
    return settings


def _refuse_unknown(values: Mapping[str, Any], path: pathlib.Path) -> None:
    known = {field.name for field in dataclasses.fields(Settings)}
    for key in values:
        if key not in known:
            allowed = ", ".join(sorted(known - {"home", "api_key", "auth_token"}))
            raise errors.invalid(f"cannot use {path}: unknown key {key!r}; allowed: {allowed}")


def _convert(values: Mapping[str, Any], sources: Mapping[str, str]) -> Settings:
    types = {field.name: field.type for field in dataclasses.fields(Settings)}
    hints = {
        "str": str, "int": int, "float": float, "bool": bool,
        "tuple[str, ...]": tuple[str, ...], "pathlib.Path": pathlib.Path,
    }  # fmt: skip
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, pathlib.Path):
            converted[name] = value
            continue
        try:
            converted[name] = msgspec.convert(value, hints[str(types[name])], strict=False)
        except msgspec.ValidationError as error:
            raise errors.invalid(
                f"cannot use {name} = {value!r} from {sources.get(name, 'the defaults')}: {error}"
            ) from error
    return Settings(**converted)


def _check(settings: Settings) -> None:
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise errors.invalid(
            f"cannot listen on {settings.host}: the page is served on loopback only "
            "(127.0.0.1, ::1 or localhost); reach it from elsewhere through ssh -L"
        )
    if not 0 <= settings.port <= 65535:
        raise errors.invalid(f"cannot listen on port {settings.port}: use 0 to 65535")
    if settings.sandbox not in ("auto", "base", "host"):
        raise errors.invalid(f"cannot use sandbox {settings.sandbox!r}: use auto, base or host")
    if settings.builder not in ("layers", "nix"):
        raise errors.invalid(f"cannot use builder {settings.builder!r}: use layers or nix")
    if not _is_http(settings.upstream):
        # Not quoted: it may hold a password.
        raise errors.invalid(
            "cannot use the upstream (ANTHROPIC_BASE_URL): it is not a URL like "
            "https://api.anthropic.com"
        )
    _check_forge(settings)
    if settings.memory_bytes < 256 * 1024**2:
        raise errors.invalid("cannot use memory_bytes below 268435456 (256 MiB): claude needs more")
    if not 0 < settings.cpus < math.inf:
        raise errors.invalid(f"cannot use cpus = {settings.cpus}: use more than 0")
    if not 0.1 <= settings.compact_at <= 1:
        raise errors.invalid(
            f"cannot use compact_at = {settings.compact_at}: use a share from 0.1 to 1; with 1 "
            "nothing is compacted ahead of time"
        )
    for name, least in _AT_LEAST.items():
        value = getattr(settings, name)
        if not least <= value < math.inf:
            raise errors.invalid(f"cannot use {name} = {value}: use {least} or more")
    if settings.uid_base and not UID_BASE_MIN <= settings.uid_base <= UID_BASE_MAX:
        raise errors.invalid(
            f"cannot use uid_base = {settings.uid_base}: use {UID_BASE_MIN} to {UID_BASE_MAX}, "
            "a range that no user of this host is in, or 0"
        )


def _proxy_url(text: str, source: str) -> str:
    """The URL of a proxy, also from ``HOST:PORT`` alone, as other programs take it."""
    url = text.strip() if "://" in text else f"http://{text.strip()}"
    if not _is_http(url):
        # Not quoted: it may hold a password.
        raise errors.invalid(
            f"cannot use the proxy from {source}: it is not a URL like http://proxy.example:3128; "
            "correct it, or start without it (SOCKS proxies cannot be used)"
        )
    return url


def _check_forge(settings: Settings) -> None:
    url = settings.forge_url
    if url and not (_is_http(url) and url.isascii() and url.isprintable() and " " not in url):
        raise errors.invalid(
            "cannot use forge_url: it is not a URL like https://git.example.org or "
            "http://127.0.0.1:3000"
        )
    parts = urllib.parse.urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not quoted: it may hold a password.
        raise errors.invalid(
            "cannot use forge_url: it must be the address alone, without a user, a query or a "
            "fragment; the token is set with: hive forge set-token"
        )
    if not re.fullmatch(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*", settings.forge_organisation):
        raise errors.invalid(
            f"cannot use forge_organisation = {settings.forge_organisation[:60]!r}: use letters, "
            "digits and single . _ - between them"
        )


def _is_http(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
