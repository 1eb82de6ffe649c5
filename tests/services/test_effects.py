"""What a change does is found whole, whatever the change is."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain.configuration import Configuration, Limits, McpServer, Packages
from hyperhive.services.effects import effects, origins

_names = st.lists(st.sampled_from("abcdef"), max_size=3, unique=True).map(tuple)
_maps = st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["x", "y"]), max_size=2)
_servers = st.builds(
    McpServer,
    command=st.sampled_from(["p", "q"]),
    args=_names,
    env=_maps,
    secrets=_maps,
    allowed_tools=st.none() | _names,
)
_apt = st.lists(st.sampled_from(["jq", "jq=1", "git"]), max_size=2, unique_by=lambda n: n[:2])
_configurations = st.builds(
    Configuration,
    model=st.sampled_from(["", "m", "n"]),
    prompt_text=st.sampled_from(["", "one", "three"]),
    packages=st.builds(Packages, apt=_apt.map(tuple), pip=_names, npm=_names),
    environment=_maps,
    files=st.dictionaries(st.sampled_from(["/etc/a", "/srv/b"]), st.sampled_from("xy"), max_size=2),
    mcp_servers=st.dictionaries(st.sampled_from(["s", "t"]), _servers, max_size=2),
    tools=st.none() | st.sampled_from([(), ("Bash",), ("Bash", "WebFetch"), ("WebFetch",)]),
    recipients=st.none() | _names,
    allowed_hosts=_names,
    limits=st.builds(
        Limits,
        memory_bytes=st.none() | st.sampled_from([2**30, 2**31]),
        cpus=st.none() | st.sampled_from([1.0, 2.0]),
        processes=st.none() | st.sampled_from([64, 128]),
    ),
    secrets=_maps,
)


def canonical(one: Configuration) -> Configuration:
    """The same with lists in order: their order changes nothing."""

    def order(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(sorted(names))

    return dataclasses.replace(
        one,
        packages=Packages(
            *(tuple(sorted(getattr(one.packages, s))) for s in ("apt", "pip", "npm"))
        ),
        tools=order(one.tools),
        recipients=order(one.recipients),
        allowed_hosts=tuple(sorted(one.allowed_hosts)),
        mcp_servers={
            key: dataclasses.replace(server, allowed_tools=order(server.allowed_tools))
            for key, server in one.mcp_servers.items()
        },
    )


@given(_configurations, _configurations)
def test_there_is_a_change_exactly_when_there_is_a_difference(
    before: Configuration, after: Configuration
) -> None:
    found = effects(before, after)
    assert bool(found["changes"]) == (canonical(before) != canonical(after))


@given(_configurations, _configurations)
def test_the_way_back_is_the_mirror_image(before: Configuration, after: Configuration) -> None:
    there = effects(before, after)["changes"]
    back = effects(after, before)["changes"]
    turned = {"added": "removed", "removed": "added", "changed": "changed"}

    def key(one: dict[str, str | None], *, turn: bool) -> str:
        change = turned[str(one["change"])] if turn else one["change"]
        values = [one["after"], one["before"]] if turn else [one["before"], one["after"]]
        return json.dumps([one["topic"], change, one["name"], *values])

    assert sorted(key(one, turn=True) for one in there) == sorted(
        key(one, turn=False) for one in back
    )


@given(_configurations, _configurations)
def test_risks_come_first_and_are_counted(before: Configuration, after: Configuration) -> None:
    found = effects(before, after)
    weights = [one["weight"] for one in found["changes"]]
    assert weights == sorted(weights, reverse=True)
    assert weights.count("risk") == found["risks"]
    assert json.loads(json.dumps(found)) == found
    for one in found["changes"]:
        assert one["before"] != one["after"]
        assert (one["before"] is None) == (one["change"] == "added")
        assert (one["after"] is None) == (one["change"] == "removed")
        if one["change"] == "removed":
            assert one["weight"] == "notice"


SERVER = McpServer("p", allowed_tools=("a",))
NARROW = Configuration(
    tools=("Bash",),
    recipients=("a",),
    allowed_hosts=("a.example",),
    limits=Limits(2**30, 1.0, 64),
    mcp_servers={"s": SERVER},
    packages=Packages(apt=("jq=1",)),
)


def narrow(**changed: object) -> Configuration:
    return dataclasses.replace(NARROW, **changed)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("after", "topic", "change", "name", "old", "new", "weight"),
    [
        (narrow(tools=("Bash", "WebFetch")), "tools", "added", "WebFetch", None, "WebFetch",
         "risk"),
        (narrow(tools=None), "tools", "changed", "built-in tools", "Bash", "the host's list",
         "risk"),
        (narrow(recipients=None), "recipients", "changed", "agents it may write to", "a", "all",
         "risk"),
        (narrow(recipients=("a", "b")), "recipients", "added", "b", None, "b", "risk"),
        (narrow(recipients=()), "recipients", "removed", "a", "a", None, "notice"),
        (narrow(allowed_hosts=("a.example", "*")), "hosts", "added", "*", None, "*", "risk"),
        (narrow(limits=Limits(2**31, 1.0, 64)), "limits", "changed", "memory", "1 GiB", "2 GiB",
         "risk"),
        (narrow(limits=Limits(2**29, 1.0, 64)), "limits", "changed", "memory", "1 GiB", "512 MiB",
         "notice"),
        (narrow(secrets={"A": "x"}), "secrets", "added", "A", None, "x", "risk"),
        (narrow(mcp_servers={"s": dataclasses.replace(SERVER, secrets={"A": "x"})}),
         "secrets", "added", "A of MCP server s", None, "x", "risk"),
        (narrow(mcp_servers={"s": dataclasses.replace(SERVER, allowed_tools=None)}),
         "mcp", "changed", "allowed tools of MCP server s", "a", "all", "risk"),
        (narrow(mcp_servers={"s": dataclasses.replace(SERVER, args=("a b",))}),
         "mcp", "changed", "s", "p", "p 'a b'", "risk"),
        (narrow(mcp_servers={}), "mcp", "removed", "s", "p", None, "notice"),
        (narrow(packages=Packages(apt=("jq=2",))), "packages", "changed", "apt jq", "1", "2",
         "notice"),
        (narrow(packages=Packages(apt=("jq=1",), pip=("Foo",))), "packages", "added", "pip foo",
         None, "any version", "risk"),
        (narrow(files={"/etc/x": "y"}), "files", "added", "/etc/x", None, "y", "risk"),
        (narrow(files={"/srv/x": "y"}), "files", "added", "/srv/x", None, "y", "notice"),
        (narrow(environment={"TZ": "UTC"}), "environment", "added", "TZ", None, "UTC", "notice"),
        (narrow(model="m"), "model", "added", "model", None, "m", "notice"),
        (narrow(prompt="p.md", prompt_text="abc"), "prompt", "added", "p.md", None, "3 characters",
         "notice"),
    ],
)  # fmt: skip
def test_one_change(
    after: Configuration, topic: str, change: str, name: str, old: str, new: str, weight: str
) -> None:
    assert effects(NARROW, after)["changes"] == [
        {"topic": topic, "change": change, "name": name, "before": old, "after": new,
         "weight": weight}
    ]  # fmt: skip


def test_a_web_tool_is_named_although_the_rest_is_the_hosts_list() -> None:
    found = effects(None, Configuration(tools=("Bash", "WebSearch")))
    assert [(one["name"], one["weight"]) for one in found["changes"]] == [
        ("WebSearch", "risk"),
        ("built-in tools", "notice"),
    ]


def test_what_a_flake_takes_in_is_said_once() -> None:
    nix = {
        "inputs": {"tools": "github:a/b/main"},
        "below": ["github:a/b", "github:c/d"],
    }
    assert origins({"nix": nix}) == [
        "flake.nix takes tools from github:a/b/main",
        "its inputs take in github:c/d",
    ]
    assert origins({"apt": {"jq": "1.6"}}) == []
