"""The graph in a ``flake.lock``: taken apart into the pins of one input, and put together.

So what was locked when an agent was built is, to the byte, what meta pins when it is deployed,
and locking one agent anew cannot move another. Node names are given as Nix gives them
(``LockFile::toJSON``), so that Nix finds nothing to write. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hyperhive.domain import errors

VERSION: Final = 7
_OLDEST: Final = 5
ROOT: Final = "root"
Pins = Mapping[str, Any]
"""``{"root": key, "nodes": {key: node}}``: an input and all that it takes in, with what each was
resolved to; the value of ``flake`` in `Generation.lock`."""


def parse(content: str) -> dict[str, Pins]:
    """Return the pins of every input of the top flake; INVALID when it is no lock."""
    try:
        lock = json.loads(content)
        if not _OLDEST <= lock["version"] <= VERSION:
            raise errors.invalid(f"cannot read flake.lock: its version is {lock['version']}")
        nodes: dict[str, Any] = lock["nodes"]
        inputs: dict[str, Any] = nodes[lock["root"]].get("inputs", {})
        return {
            name: {"root": key, "nodes": {each: nodes[each] for each in _reached(nodes, key)}}
            for name, key in inputs.items()
            if isinstance(key, str)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.invalid(f"cannot read flake.lock: it is damaged: {error}") from error


def compose(inputs: Mapping[str, Pins]) -> bytes:
    """Return a ``flake.lock`` whose top flake has exactly these inputs."""
    made: dict[str, Any] = {}
    taken: set[str] = {ROOT}
    names: dict[tuple[str, str], str] = {}

    def add(top: str, key: str, wish: str) -> str:
        if (top, key) in names:
            return names[top, key]
        name, number = wish, 1
        while name in taken:
            number += 1
            name = f"{wish}_{number}"
        taken.add(name)
        names[top, key] = name
        node = inputs[top]["nodes"][key]
        below = {
            child: add(top, to, child) if isinstance(to, str) else to
            for child, to in sorted(node.get("inputs", {}).items())
        }
        made[name] = {**node, "inputs": below} if below else node
        return name

    below = {top: add(top, pins["root"], top) for top, pins in sorted(inputs.items())}
    made[ROOT] = {"inputs": below} if below else {}
    lock = {"nodes": made, "root": ROOT, "version": VERSION}
    return (json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def places(pins: Pins) -> list[str]:
    """Return where an input and all below it come from."""
    return sorted({url(node["locked"]) for node in pins["nodes"].values() if "locked" in node})


def below(pins: Pins) -> list[str]:
    """Return where the inputs below an input come from."""
    nodes = {key: node for key, node in pins["nodes"].items() if key != pins["root"]}
    return places({"root": "", "nodes": nodes})


def url(locked: Mapping[str, Any]) -> str:
    """Return one place as a flake's URL without its version."""
    kind = str(locked.get("type", "?"))
    if {"owner", "repo"} <= locked.keys():
        return f"{kind}:{locked['owner']}/{locked['repo']}"
    place = str(locked.get("url") or locked.get("path") or locked.get("id") or "?")
    if kind in ("tarball", "file") and "://" in place:
        return place
    return f"git+{place}" if kind == "git" else f"{kind}:{place}"


def version(pins: Pins) -> tuple[str, int]:
    """Return what an input is pinned to, shortly, and when that was made (seconds of the epoch)."""
    locked = pins["nodes"][pins["root"]].get("locked", {})
    short = str(locked.get("rev", ""))[:12] or str(locked.get("narHash", ""))[-13:-1]
    return short, int(locked.get("lastModified", 0))


def commit(pins: Pins) -> str:
    """Return the commit that an input is pinned to; empty when that is no commit."""
    return str(pins["nodes"][pins["root"]].get("locked", {}).get("rev", ""))


def _reached(nodes: Mapping[str, Any], key: str) -> Iterator[str]:
    seen: set[str] = set()
    rest = [key]
    while rest:
        one = rest.pop()
        if one not in seen:
            seen.add(one)
            yield one
            rest += [to for to in nodes[one].get("inputs", {}).values() if isinstance(to, str)]
