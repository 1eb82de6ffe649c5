"""What the git of a sandbox is told, and which repositories the manager is shown (S42).

Below the hive's home::

    proposed         shown to the manager as /agents, writable
    export/applied   shown to the manager as /applied, read-only
    export/meta      shown to the manager as /meta, read-only
    run/agents/<id>/gitconfig   shown to every agent as /etc/gitconfig, read-only

`config_repo` fills the first three; they are made here because a sandbox can be shown only what
exists when it starts. Nothing is ever written into what the manager owns: the remote
``applied`` of its repositories comes from a file of the export that the configuration includes.
"""

from __future__ import annotations

import pathlib
from typing import Final

from hyperhive import ports
from hyperhive.domain import agents

CONFIG_IN_SANDBOX: Final = "/etc/gitconfig"
REMOTES_IN_SANDBOX: Final = "/applied/gitconfig"
"""Written with every publish; an agent without /applied has none, and git does not mind."""
_SHOWN: Final = (
    ("proposed", "/agents", True),
    ("export/applied", "/applied", False),
    ("export/meta", "/meta", False),
)


def binds(home: pathlib.Path, run: pathlib.Path, agent: agents.Agent) -> tuple[ports.Bind, ...]:
    """Make what is missing, and return what the sandbox of *agent* is shown of it."""
    config = run / "gitconfig"
    _write(config, _text(agent.name))
    shown = [ports.Bind(config, CONFIG_IN_SANDBOX)]
    if agent.role is agents.Role.MANAGER:
        _make_open(home / "export")
        for name, target, writable in _SHOWN:
            _make_open(home / name)
            shown.append(ports.Bind(home / name, target, writable=writable))
    return tuple(shown)


def _text(name: str) -> str:
    """git-config(1): of the system, so that the agent's own ``~/.gitconfig`` still wins."""
    return (
        "# Written by the hive.\n"
        "[user]\n"
        f"\tname = {name}\n"
        f"\temail = {name}@hive.invalid\n"
        "[init]\n"
        "\tdefaultBranch = main\n"
        "[include]\n"
        f"\tpath = {REMOTES_IN_SANDBOX}\n"
    )


def _write(path: pathlib.Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    fresh = path.with_name(f".new-{path.name}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o644)
    fresh.rename(path)


def _make_open(path: pathlib.Path) -> None:
    path.mkdir(mode=0o755, exist_ok=True)
    if path.stat().st_mode & 0o7777 != 0o755:
        path.chmod(0o755)
