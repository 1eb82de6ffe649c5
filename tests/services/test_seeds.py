"""A seed is a configuration that can be read, changes next to nothing, and says what could be."""

from __future__ import annotations

import dataclasses
import datetime
import re

import pytest

from hyperhive.domain import agents, configuration, ids
from hyperhive.services import agent_toml, configuration_keys, seeds

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def agent(role: agents.Role) -> agents.Agent:
    return agents.Agent(
        id=ids.AgentId("b" * 12), name=ids.AgentName("bob"), role=role, slot=3, created_at=NOW,
        wanted=agents.Wanted.RUNNING, epoch=1, phase=agents.Phase.STARTING, phase_since=NOW,
        phase_note="", running_epoch=0, sandbox=None, crashes=0, retry_at=None,
        turn_state=agents.TurnState.OFFLINE, turn_since=NOW, turn_note="", status="", model="",
        session_id="", session_started=False, start_reason="",
    )  # fmt: skip


@pytest.mark.parametrize("role", agents.Role)
def test_a_seed_is_valid_and_changes_the_prompt_alone(role: agents.Role) -> None:
    reading = agent_toml.examine(seeds.files(agent(role)))
    assert reading.problems == reading.warnings == ()
    made = reading.configuration
    assert made is not None
    assert made.prompt == "prompt.md"
    assert made.prompt_text.startswith("## ")
    assert dataclasses.replace(made, prompt="", prompt_text="", description="") == (
        configuration.Configuration()
    )


@pytest.mark.parametrize("role", agents.Role)
def test_what_it_shows_commented_out_is_valid_too(role: agents.Role) -> None:
    content = seeds.files(agent(role))
    text = content["agent.toml"].decode()
    shown = re.sub(r'^# (?=[a-z_]+ = |[A-Z_]+ = |\[|"/)', "", text, flags=re.MULTILINE)
    content |= {"agent.toml": shown.encode(), "files/settings.yaml": b"a: 1\n"}
    reading = agent_toml.examine(content)
    assert reading.problems == ()
    assert reading.configuration is not None
    assert reading.configuration.mcp_servers["clock"].command == "clock-mcp"


def test_every_key_of_the_contract_is_in_it() -> None:
    text = seeds.files(agent(agents.Role.AGENT))["agent.toml"].decode()
    first = {key.path[0] for key in configuration_keys.KEYS}
    assert {name for name in first if re.search(rf"\b{name}\b", text) is None} == set()


def test_the_manager_has_words_of_its_own() -> None:
    of_agent, of_manager = (seeds.files(agent(role)) for role in (
        agents.Role.AGENT, agents.Role.MANAGER,
    ))  # fmt: skip
    assert of_agent.keys() == of_manager.keys()
    assert all(of_agent[name] != of_manager[name] for name in of_agent)
    assert b"/agents/bob/config" in of_agent["README.md"]
    assert b"This is your own" in of_manager["README.md"]


@pytest.mark.parametrize("role", agents.Role)
def test_with_nix_packages_are_not_spoken_of_twice(role: agents.Role) -> None:
    files = seeds.files_for_nix(agent(role))
    assert set(files) == {*seeds.files(agent(role)), "agent.nix", "flake.nix"}
    assert agent_toml.examine(files).problems == ()
    assert b"[packages]" not in files["agent.toml"] and b"agent.nix" in files["agent.toml"]
    assert b"`agent.nix`: what is installed" in files["README.md"]
    assert b"nixosModules.default" in files["flake.nix"]
