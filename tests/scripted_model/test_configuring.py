"""What the demo's manager makes of a wish for a package."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib

import pytest

from hyperhive.domain import configuration
from hyperhive.scripted_model import brain, configuring
from hyperhive.services import agent_toml, seeds
from rigs.store_world import make_agent


@pytest.mark.parametrize(
    ("text", "agent", "package"),
    [
        ("Give nova the package tree", "nova", "tree"),
        ("Please install jq for coder.", "coder", "jq"),
        ("add the package `ripgrep` to nova", "nova", "ripgrep"),
        ('give coder-2 the package "python3-dev"', "coder-2", "python3-dev"),
    ],
)
def test_a_wish_is_found(text: str, agent: str, package: str) -> None:
    assert configuring.find_wish(text) == configuring.Wish(agent, package)


@pytest.mark.parametrize(
    "text", ["Please get a helper named nova", "get me a helper that counts", "hello", ""]
)
def test_other_mail_is_no_wish(text: str) -> None:
    assert configuring.find_wish(text) is None


def edit(directory: pathlib.Path, package: str) -> None:
    """Run the edit that the manager runs."""
    subprocess.run(
        [sys.executable, "-", package], input=configuring.EDIT, text=True, cwd=directory, check=True
    )


def test_the_edit_makes_a_valid_configuration(tmp_path: pathlib.Path) -> None:
    seed = seeds.files(make_agent("nova"))
    for name, content in seed.items():
        (tmp_path / name).write_bytes(content)
    for package in ("tree", "jq", "tree"):
        edit(tmp_path, package)
    made = agent_toml.load({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert made.packages.apt == ("tree", "jq")
    assert tomllib.loads((tmp_path / configuration.FILE_NAME).read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"status": "deployed", "tag": "deployed/3"}, "runs its new configuration (deployed/3)"),
        ({"status": "denied", "note": "no"}, "stays as it is: no"),
        ({"status": "failed", "note": "broken"}, "it is failed: broken"),
    ],
)
def test_the_operator_hears_what_came_of_it(event: dict[str, str], said: str) -> None:
    full = {"event": "approval_resolved", "kind": "apply_commit", "agent": "nova"} | event
    assert configuring.is_proposal(full)
    heard: list[str] = []

    def send(body: str) -> brain.UseTool:
        heard.append(body)
        return brain.UseTool("send", {"body": body})

    beats = configuring.on_resolved(full, send)
    assert beats[0](None)  # type: ignore[arg-type]
    assert said in heard[0]
