"""The flake that pins what agents run: rendered from facts, the same for the same facts (S41).

One input and one system for each agent, beside the inputs that all share. Whatever comes from
outside stands in a quoted string with nothing that Nix would evaluate. Pure.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Final

from hyperhive.domain import ids

FLAKE: Final = "flake.nix"
LOCK: Final = "flake.lock"
NIXPKGS: Final = "nixpkgs"
HYPERHIVE: Final = "hyperhive"
MANAGER: Final = "manager"
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "\\$"}

_HEAD: Final = """\
# What every agent of this hive runs, pinned by flake.lock. Rendered: edits are overwritten.
{
  description = "The agents of a hive";

  inputs = {
"""
_MIDDLE: Final = """\
  };

  outputs = inputs:
    let
      system = SYSTEM;
      make = base: configuration: identity:
        inputs.nixpkgs.lib.nixosSystem {
          inherit system;
          modules = [
            base
            { hyperhive.agent = identity; }
            configuration.nixosModules.default
          ];
        };
      inherit (inputs.hyperhive.nixosModules) agent manager;
    in {
      nixosConfigurations = {
"""
_TAIL: Final = """\
      };
    };
}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Agent:
    """What the flake says about one agent."""

    id: ids.AgentId
    name: ids.AgentName
    role: str
    sha: str


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all agents of a hive."""

    applied: pathlib.Path
    """Directory of the applied repositories."""
    inputs: Mapping[str, str]
    """URLs of the shared inputs `NIXPKGS` and `HYPERHIVE`."""
    hive_name: str = "hive"
    pronouns: str = ""
    system: str = dataclasses.field(default_factory=lambda: f"{os.uname().machine}-linux")


def input_name(name: ids.AgentName) -> str:
    """Return the name of an agent's input; agent names are flake identifiers, by their rule."""
    return f"agent-{name}"


def input_url(setting: Setting, agent: Agent) -> str:
    """Return where an agent's configuration is: a commit in its applied repository.

    ``ref`` too: without it Nix before 2.9 looks for a branch called master.
    """
    path = setting.applied / f"{agent.id}.git"
    return f"git+file://{path}?ref=main&rev={agent.sha}"


def render(setting: Setting, agents: Iterable[Agent]) -> bytes:
    """Return ``flake.nix`` for exactly these agents."""
    ordered = sorted(agents, key=lambda agent: agent.name)
    text = _HEAD
    text += f"    {NIXPKGS}.url = {quote(setting.inputs[NIXPKGS])};\n"
    text += f"    {HYPERHIVE}.url = {quote(setting.inputs[HYPERHIVE])};\n"
    text += f"    {HYPERHIVE}.inputs.{NIXPKGS}.follows = {quote(NIXPKGS)};\n"
    for agent in ordered:
        name, url = quote(input_name(agent.name)), quote(input_url(setting, agent))
        text += f"    {name}.url = {url};\n"
    text += _MIDDLE.replace("SYSTEM", quote(setting.system))
    for agent in ordered:
        text += f"        {quote(agent.name)} =\n          make {_base(agent)} "
        text += f"inputs.{quote(input_name(agent.name))} {{\n"
        identity = {
            "hive": setting.hive_name,
            "id": agent.id,
            "name": agent.name,
            "operatorPronouns": setting.pronouns,
            "role": agent.role,
        }
        for key, value in identity.items():
            text += f"            {key} = {quote(value)};\n"
        text += "          };\n"
    return (text + _TAIL).encode()


def attribute(name: ids.AgentName) -> str:
    """Return the path of what is built for an agent."""
    return f'nixosConfigurations."{name}".config.system.build.toplevel'


def quote(text: str) -> str:
    """Return *text* as a string of the Nix language, in which nothing is evaluated.

    A zero byte has no form there and is left out (Nix manual, "String literal").
    """
    shown = "".join(_ESCAPES.get(letter, letter) for letter in text if letter != "\0")
    return f'"{shown}"'


def _base(agent: Agent) -> str:
    return "manager" if agent.role == MANAGER else "agent"
