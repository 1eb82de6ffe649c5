"""What a hostile module, flake or derivation can do where Nix runs (docs/adr/0012): nothing."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import stat

import pytest
from tests.system.test_nix_builder import refused, top

from rigs import builder_stories, nix_bench

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
ALICE = builder_stories.ALICE
__all__ = ["top"]


HOSTILE = {
    "reads a file": b"{ networking.hostName = builtins.readFile /etc/passwd; }",
    "fetches": b'{ networking.hostName = (builtins.fetchTarball "http://127.0.0.1:9/x").x; }',
    "imports a derivation": b"""{ pkgs, ... }: {
      networking.hostName = import (pkgs.writeShellScriptBin "x" "1"); }""",
    "reads the environment": b"""{
      networking.hostName = if builtins.getEnv "HOME" == "" then throw "no home" else "x"; }""",
    "runs a program": b'{ networking.hostName = builtins.exec [ "/bin/sh" "-c" "echo 1" ]; }',
    "leaves the repository": b"{ networking.hostName = builtins.readFile ../../../../etc/passwd; }",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_evaluation_has_no_more_rights_than_it_needs(what: str, top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        await bench.seed(ALICE, "alice")
        bad = await bench.propose(ALICE, 1, agent_nix=HOSTILE[what])
        said = await refused(bench.builder.build(await bench.order(ALICE, "alice", bad), print))
        print(said)
        words = {
            "reads a file": "forbidden in pure eval", "fetches": "pure eval",
            "imports a derivation": "cannot build", "reads the environment": "no home",
            "runs a program": "exec", "leaves the repository": "cannot build",
        }  # fmt: skip
        assert words[what] in said

    asyncio.run(story())


INPUTS = {
    "a file of the host": b'"path:/etc"',
    "a repository of the host": b'"git+file:///root/x"',
    "ssh": b'"git+ssh://git@github.com/a/b"',
    "plain http": b'"http://169.254.169.254/latest"',
    "the registry": b'"nixpkgs"',
}


@pytest.mark.parametrize("what", INPUTS)
def test_inputs_are_looked_at_before_anything_is_fetched(what: str, top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        await bench.seed(ALICE, "alice")
        flake = nix_bench.files({})["flake.nix"].replace(
            b"inputs = { };", b"inputs.tools.url = " + INPUTS[what] + b";"
        )
        bad = await bench.propose(ALICE, 1, flake_nix=flake)
        said = await refused(bench.builder.build(await bench.order(ALICE, "alice", bad), print))
        assert "cannot take input tools of flake.nix from" in said and "nix_inputs" in said

    asyncio.run(story())


def test_a_lock_of_the_commit_cannot_lead_elsewhere(top: pathlib.Path) -> None:
    """``flake.nix`` names an allowed place; its ``flake.lock`` says where that is: not there."""

    async def story() -> None:
        bench = nix_bench.NixBench(top)
        await bench.seed(ALICE, "alice")
        flake = nix_bench.files({})["flake.nix"].replace(
            b"inputs = { };", b'inputs.tools = { url = "github:a/b"; flake = false; };'
        )
        elsewhere = {
            "flake": False,
            "locked": {
                "type": "path",
                "path": "/etc",
                "lastModified": 1,
                "narHash": "sha256-LphcTGIlCnaFK+jDFNpqoWigS8Uof32pMH7dN9kITjo=",
            },
            "original": {"type": "github", "owner": "a", "repo": "b"},
        }
        lock = {
            "version": 7,
            "root": "root",
            "nodes": {"root": {"inputs": {"tools": "tools"}}, "tools": elsewhere},
        }
        bad = await bench.propose(ALICE, 1, flake_nix=flake, flake_lock=json.dumps(lock).encode())
        lines: list[str] = []
        said = await refused(
            bench.builder.build(await bench.order(ALICE, "alice", bad), lines.append)
        )
        print(said, lines)
        assert "path:/etc" in said

    asyncio.run(story())


def test_a_derivation_can_write_to_nothing_but_its_output(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        await bench.seed(ALICE, "alice")
        module = b"""{ pkgs, ... }: {
          environment.systemPackages = [ (derivation {
            name = "look"; system = "x86_64-linux"; builder = "/bin/sh";
            args = [ "-c" ''
              PATH=/usr/bin:/bin
              echo "uid $(id -u)"
              for place in /nix/store/evil /nix/var/hive/x /work/x ${pkgs.jq}/x /work/flake/x; do
                (echo x > $place) 2>/dev/null && echo "wrote $place"
              done
              ls /nix/var/nix/db /work/*.git 2>&1 | head -3
              cat /proc/net/route 2>/dev/null | wc -l
              mkdir -p $out/bin
            '' ];
          }) ];
        }"""
        asked = await bench.propose(ALICE, 1, agent_nix=module)
        lines: list[str] = []
        await bench.builder.build(await bench.order(ALICE, "alice", asked), lines.append)
        print(lines)
        wrote = [line for line in lines if "wrote" in line]
        # New names in the store, as with every Nix without a sandbox: Nix never takes them for
        # anything. The sticky bit keeps what is there.
        assert wrote in ([], ["nix: wrote /nix/store/evil"])
        assert stat.S_IMODE((top / "nix").stat().st_mode) == 0o700
        if os.geteuid() == 0:
            uid = next(line for line in lines if "uid " in line).split()[-1]
            assert int(uid) > 30_000

    asyncio.run(story())
