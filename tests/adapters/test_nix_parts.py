"""The pure parts of the Nix builder: rendering, quoting, the graph of a lock, reasons."""

from __future__ import annotations

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.adapters.builder import nix_flake, nix_locks, nix_program
from hyperhive.domain import errors, ids

SETTING = nix_flake.Setting(
    pathlib.Path("/home of/applied"),
    {nix_flake.NIXPKGS: "github:NixOS/nixpkgs", nix_flake.HYPERHIVE: "path:/x"},
    pronouns='"; ${evil}',
    system="x86_64-linux",
)


def agent(name: str, role: str = "agent", sha: str = "1" * 40) -> nix_flake.Agent:
    return nix_flake.Agent(ids.AgentId("a" * 12), ids.AgentName(name), role, sha)


def test_a_flake_is_the_same_for_the_same_agents() -> None:
    both = [agent("bob"), agent("manager", "manager")]
    made = nix_flake.render(SETTING, both)
    assert made == nix_flake.render(SETTING, reversed(both))
    text = made.decode()
    assert '"agent-bob".url = "git+file:///home of/applied/aaaaaaaaaaaa.git?ref=main&rev=1' in text
    assert 'make agent inputs."agent-bob"' in text
    assert 'make manager inputs."agent-manager"' in text
    assert 'hyperhive.inputs.nixpkgs.follows = "nixpkgs";' in text
    assert 'operatorPronouns = "\\"; \\${evil}";' in text
    assert nix_flake.attribute(ids.AgentName("bob")) == (
        'nixosConfigurations."bob".config.system.build.toplevel'
    )


@given(st.text())
def test_a_quoted_text_has_nothing_that_nix_would_evaluate(text: str) -> None:
    quoted = nix_flake.quote(text)
    assert quoted[0] == quoted[-1] == '"'
    inner = quoted[1:-1]
    position, back = 0, ""
    while position < len(inner):
        if inner[position] == "\\":
            back += {"n": "\n", "r": "\r", "t": "\t"}.get(inner[position + 1], inner[position + 1])
            position += 2
            continue
        assert inner[position] not in '"$\n\r'
        back += inner[position]
        position += 1
    assert back == text.replace("\0", "")


def node(rev: str, **inputs: object) -> dict[str, object]:
    locked = {"type": "git", "url": "file:///x", "rev": rev, "lastModified": 1}
    return {"locked": locked, "original": {}, **({"inputs": inputs} if inputs else {})}


LOCK = {
    "version": 7,
    "root": "root",
    "nodes": {
        "agent-a": node("1", tools="tools", base=["nixpkgs"]),
        "agent-b": node("2", tools="tools_2"),
        "nixpkgs": node("3"),
        "root": {"inputs": {"agent-a": "agent-a", "agent-b": "agent-b", "nixpkgs": "nixpkgs"}},
        "tools": node("4"),
        "tools_2": node("5", tools="tools"),
    },
}


def test_a_lock_taken_apart_is_put_together_to_the_byte() -> None:
    pins = nix_locks.parse(json.dumps(LOCK))
    assert set(pins) == {"agent-a", "agent-b", "nixpkgs"}
    assert set(pins["agent-b"]["nodes"]) == {"agent-b", "tools_2", "tools"}
    whole = nix_locks.compose(pins)
    again = json.loads(whole)
    assert again["nodes"]["agent-a"]["inputs"] == {"base": ["nixpkgs"], "tools": "tools"}
    assert again["nodes"]["agent-b"]["inputs"] == {"tools": "tools_2"}
    # What two inputs share is two nodes now: one can move without the other.
    assert again["nodes"]["tools_2"]["inputs"] == {"tools": "tools_3"}
    assert nix_locks.compose(nix_locks.parse(whole.decode())) == whole
    assert nix_locks.commit(pins["agent-a"]) == "1"
    fewer = json.loads(nix_locks.compose({"nixpkgs": pins["nixpkgs"]}))
    assert set(fewer["nodes"]) == {"root", "nixpkgs"}
    assert json.loads(nix_locks.compose({}))["nodes"] == {"root": {}}


def test_an_input_of_itself_ends() -> None:
    looped = {**LOCK, "nodes": {**LOCK["nodes"], "tools": node("4", again="tools")}}  # type: ignore[dict-item]
    pins = nix_locks.parse(json.dumps(looped))
    again = json.loads(nix_locks.compose({"agent-a": pins["agent-a"]}))
    assert again["nodes"]["tools"]["inputs"] == {"again": "tools"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 99, "root": "r", "nodes": {"r": {}}}', "[" * 100_000]
)
def test_a_damaged_lock_is_refused(text: str) -> None:
    with pytest.raises(errors.HiveError, match=r"flake\.lock"):
        nix_locks.parse(text)


@pytest.mark.parametrize(
    ("locked", "url"),
    [
        ({"type": "github", "owner": "a", "repo": "b"}, "github:a/b"),
        ({"type": "git", "url": "https://x/y"}, "git+https://x/y"),
        ({"type": "tarball", "url": "https://x/y.tar.gz"}, "https://x/y.tar.gz"),
        ({"type": "path", "path": "/etc"}, "path:/etc"),
        ({"type": "file", "url": "/etc/passwd"}, "file:/etc/passwd"),
        ({"type": "indirect", "id": "nixpkgs"}, "indirect:nixpkgs"),
    ],
)
def test_a_place_is_one_word(locked: dict[str, str], url: str) -> None:
    assert nix_locks.url(locked) == url


S = "/nix/store/62shz70hzrwyyv1xfphmgxqskcfky5fr-source"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["error: undefined variable 'x'", "", f"       at {S}/agent.nix:3:5:"],
         "agent.nix:3: undefined variable 'x'"),
        (["error:", "   … while x", f"   at {S}/lib/modules.nix:9:1:",
          "   error: attribute missing", f"   at {S}/agent.nix:7:2:"],
         "agent.nix:7: attribute missing"),
        (["error: builder for '/nix/store/x.drv' failed with exit code 3",
          "error: 1 dependencies of derivation '/nix/store/y.drv' failed to build"],
         "builder for '/nix/store/x.drv' failed with exit code 3"),
        (["", "out of cheese"], "out of cheese"),
        ([], "nix said nothing"),
    ],
)  # fmt: skip
def test_a_reason_names_file_and_line(lines: list[str], said: str) -> None:
    assert nix_program.reason(lines) == said
