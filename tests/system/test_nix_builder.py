"""The Nix builder on the real Nix of Debian, offline, with a stub for nixpkgs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
import stat
from collections.abc import Iterator

import pytest

from hyperhive import ports
from hyperhive.adapters.builder import nix_program
from hyperhive.adapters.process import host
from hyperhive.domain import configuration, errors, ids
from hyperhive.services import effects
from rigs import builder_stories, nix_bench, sandbox_bench

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
ALICE, BOB = builder_stories.ALICE, builder_stories.BOB


@pytest.fixture
def top() -> Iterator[pathlib.Path]:
    try:
        nix_bench.require_nix()
    except LookupError as error:
        pytest.fail(str(error))
    with sandbox_bench.private_home() as path:
        path.chmod(0o711)
        yield path


def entry(
    agent: ids.AgentId, name: str, sha: str, made: ports.Generation | None = None
) -> ports.MetaEntry:
    lock = {} if made is None else made.lock
    generation = "" if made is None else made.id
    return ports.MetaEntry(agent, ids.AgentName(name), "agent", sha, generation, lock)


def locked(bench: nix_bench.NixBench) -> dict[str, str]:
    """The commit of every agent's input in meta's work tree."""
    lock = json.loads((bench.top / "meta" / "flake.lock").read_text())
    return {
        name: lock["nodes"][key]["locked"].get("rev", "")
        for name, key in lock["nodes"]["root"]["inputs"].items()
    }


async def refused(work: object, kind: errors.ErrorKind = errors.ErrorKind.INVALID) -> str:
    return await builder_stories.refused(work, kind)  # pyright: ignore[reportArgumentType]


def test_from_a_seed_to_a_system_and_back(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        assert [each.severity for each in await bench.builder.probe()] == [ports.Severity.OK]
        seed = await bench.seed(ALICE, "alice")
        lines: list[str] = []
        first = await bench.builder.build(await bench.order(ALICE, "alice", seed), lines.append)
        assert any("building" in line for line in lines)
        system = first.path[0].removesuffix("/sw/bin")
        told = json.loads((bench.store(system) / "etc" / "agent.json").read_text())
        assert told == {
            "hive": 'the "best" ${hive}\n', "id": ALICE, "name": "alice",
            "operatorPronouns": "they/them", "role": "agent",
        }  # fmt: skip
        newer = await bench.propose(ALICE, 1, agent_nix=nix_bench.GREET)
        order = await bench.order(ALICE, "alice", newer, lock=first.lock)
        second = await bench.builder.build(order, lines.append)
        assert second.id != first.id
        assert second.binds == (ports.Bind(top / "nix" / "root" / "store", "/nix/store"),)
        assert await bench.builder.build(order, lines.append) == second
        assert await bench.restart().find(second.id) == second
        said = await run_inside(bench, second, "greet")
        assert said == "hello"
        # Deploy, and go back.
        for made in (first, second, first):
            await bench.builder.activate(ALICE, made.id)
            profile = top / "nix/root/var/hive/profiles" / ALICE
            generation = profile.parent / profile.readlink()
            assert str(generation.readlink()) == made.path[0].removesuffix("/sw/bin")
        assert await bench.builder.collect({second.id}) == 0
        assert await bench.builder.find(second.id) == second
        await bench.builder.activate(ALICE, None)
        assert await bench.builder.collect(()) > 0
        assert await bench.builder.find(second.id) is None

    asyncio.run(story())


async def run_inside(bench: nix_bench.NixBench, made: ports.Generation, program: str) -> str:
    """What a program prints in an agent's sandbox, found by its PATH."""
    real = sandbox_bench.RealBench(bench.top, "host", bench.top / "cache")
    spec = real.spec(("/bin/sh", "-c", f"{program}; touch /nix/store/x; true"))
    spec = spec_with(spec, made)
    started = await real.sandbox.start(spec)
    await real.sandbox.wait(spec.agent, started.identity)
    return spec.log.read_text().splitlines()[0]


def spec_with(spec: ports.SandboxSpec, made: ports.Generation) -> ports.SandboxSpec:
    """Equip it as `agent_home` does."""
    return dataclasses.replace(
        spec,
        binds=(*spec.binds, *made.binds),
        env={**spec.env, "PATH": f"{':'.join(made.path)}:/usr/bin:/bin"},
    )


def test_meta_pins_what_was_built_and_moves_nobody_else(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        seeds = {
            agent: await bench.seed(agent, name) for agent, name in ((ALICE, "alice"), (BOB, "bob"))
        }
        both = [entry(ALICE, "alice", seeds[ALICE].sha), entry(BOB, "bob", seeds[BOB].sha)]
        assert await bench.meta.sync(both, "seed meta from 2 agents") is not None
        assert await bench.meta.sync(both, "regenerate meta") is None
        before = (top / "meta" / "flake.lock").read_bytes()
        assert locked(bench) == {
            "agent-alice": seeds[ALICE].sha, "agent-bob": seeds[BOB].sha, "hyperhive": "",
            "nixpkgs": "",
        }  # fmt: skip
        await nix_agrees(top, before)
        newer = await bench.propose(ALICE, 7, agent_nix=nix_bench.GREET)
        made = await bench.builder.build(await bench.order(ALICE, "alice", newer), print)
        new = entry(ALICE, "alice", newer.sha, made)
        await bench.meta.prepare(new)
        assert locked(bench)["agent-alice"] == newer.sha
        assert locked(bench)["agent-bob"] == seeds[BOB].sha
        await bench.meta.abort()
        assert (top / "meta" / "flake.lock").read_bytes() == before
        await bench.meta.prepare(new)
        await bench.meta.finalize(new, ids.ApprovalId(7), "deploy alice deployed/7")
        assert b"rev=" + newer.sha.encode() in (top / "meta" / "flake.nix").read_bytes()
        # A daemon that starts anew renders the same; Nix itself finds nothing to lock.
        again = [new, both[1]]
        _, meta, _ = bench.start()
        assert await meta.sync(again, "regenerate meta") is None
        # Who is destroyed is gone from input, system and lock.
        assert await meta.sync([new], "regenerate meta") is not None
        assert "bob" not in (top / "meta" / "flake.nix").read_text()
        assert set(locked(bench)) == {"agent-alice", "hyperhive", "nixpkgs"}

    asyncio.run(story())


async def nix_agrees(top: pathlib.Path, lock: bytes) -> None:
    """What people of the host do with meta: Nix itself finds nothing to lock, and evaluates."""
    own = top / "own"
    env = {
        "HOME": str(own),
        "NIX_CONFIG": "experimental-features = nix-command flakes\nflake-registry =\n"
        "sandbox = false\nsubstituters =\nbuild-users-group =\n",
        **{f"NIX_{name}_DIR": str(own / name.lower()) for name in ("STORE", "STATE", "LOG")},
    }
    meta = f"{top}/meta"
    for words in (
        ["flake", "lock", meta, "--no-update-lock-file"],
        ["eval", "--raw", f'{meta}#nixosConfigurations."bob".config.networking.hostName'],
    ):
        result = await host.HostProcesses().run(["nix", *words], env=env)
        assert result.code == 0, result.stderr.decode()
    assert result.stdout == b"bob"
    result = await host.HostProcesses().run(["nix", "flake", "lock", meta], env=env)
    assert (top / "meta" / "flake.lock").read_bytes() == lock, result.stderr.decode()


def test_a_broken_module_is_named_with_its_line_and_others_are_built(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        seed = await bench.seed(BOB, "bob")
        await bench.seed(ALICE, "alice")
        broken = b"{ pkgs, ... }:\n{\n  environment.systemPackages = [ pkgs.nosuch ];\n}\n"
        bad = await bench.propose(ALICE, 1, agent_nix=broken)
        lines: list[str] = []
        said = await refused(
            bench.builder.build(await bench.order(ALICE, "alice", bad), lines.append)
        )
        assert said.startswith("cannot build alice: agent.nix:3: ") and "nosuch" in said
        assert any("agent.nix:3" in line for line in lines)
        worse = await bench.propose(ALICE, 2, agent_nix=b"{ pkgs, ... }: {\n  oops\n")
        said = await refused(bench.builder.build(await bench.order(ALICE, "alice", worse), print))
        assert "agent.nix" in said and "syntax error" in said
        failing = b"""{ pkgs, ... }: {
          environment.systemPackages = [ (derivation {
            name = "doomed"; system = "x86_64-linux"; builder = "/bin/sh";
            args = [ "-c" "echo it is doomed; exit 3" ];
          }) ];
        }"""
        doomed = await bench.propose(ALICE, 3, agent_nix=failing)
        lines.clear()
        said = await refused(
            bench.builder.build(await bench.order(ALICE, "alice", doomed), lines.append)
        )
        assert "doomed" in said
        assert any("it is doomed" in line for line in lines)
        assert await bench.builder.build(await bench.order(BOB, "bob", seed), print)
        assert list((top / "nix" / "tmp").iterdir()) == []

    asyncio.run(story())


def test_what_a_killed_daemon_left_is_removed(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        left = top / "nix" / "tmp" / "0123456789abcdef" / "flake"
        left.mkdir(parents=True)
        seed = await bench.seed(ALICE, "alice")
        await bench.builder.build(await bench.order(ALICE, "alice", seed), print)
        assert not left.exists()

    asyncio.run(story())


def test_the_inputs_of_an_agent_reach_its_module_and_are_pinned(top: pathlib.Path) -> None:
    async def story() -> None:
        stub = f"path:{top}/stub"
        bench = nix_bench.NixBench(top, inputs={"nixpkgs again": stub})
        await bench.seed(ALICE, "alice")
        flake = nix_bench.files({})["flake.nix"].replace(
            b"inputs = { };", f'inputs.again.url = "{stub}";'.encode()
        )
        module = b"""{ pkgs, flakeInputs, ... }: {
          environment.systemPackages = [ (pkgs.writeShellScriptBin "names"
            "echo ${toString (builtins.attrNames flakeInputs)}") ];
        }"""
        asked = await bench.propose(ALICE, 1, flake_nix=flake, agent_nix=module)
        lines: list[str] = []
        made = await bench.builder.build(await bench.order(ALICE, "alice", asked), lines.append)
        assert await run_inside(bench, made, "names") == "again"
        assert f"flake.nix takes again from {stub}" in lines
        assert effects.origins(made.lock) == [f"flake.nix takes again from {stub}"]
        await bench.meta.sync([entry(ALICE, "alice", asked.sha, made)], "seed meta")
        lock = json.loads((top / "meta" / "flake.lock").read_text())
        assert lock["nodes"]["agent-alice"]["inputs"] == {"again": "again"}

    asyncio.run(story())


def test_cancelling_ends_the_build_and_leaves_nothing(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        await bench.seed(ALICE, "alice")
        module = b"""{ environment.systemPackages = [ (derivation {
          name = "slow"; system = "x86_64-linux"; builder = "/bin/sh";
          args = [ "-c" "echo begun; /bin/sleep 987654" ];
        }) ]; }"""
        asked = await bench.propose(ALICE, 1, agent_nix=module)
        begun = asyncio.Event()

        def hear(line: str) -> None:
            if "begun" in line:
                begun.set()

        order = await bench.order(ALICE, "alice", asked)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bench.builder.build(order, hear))
            await builder_stories.until(begun)
            task.cancel()
        assert not sleepers()
        assert list((top / "nix" / "tmp").iterdir()) == []
        seed = await bench.seed(BOB, "bob")
        assert await bench.builder.build(await bench.order(BOB, "bob", seed), print)

    asyncio.run(story())


def sleepers() -> list[str]:
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"\x00987654\x00" in words and words.startswith(b"/bin/sleep"):
            found.append(str(path))
    return found


def test_shared_inputs_are_updated_one_at_a_time(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        seed = await bench.seed(ALICE, "alice")
        first = await bench.builder.build(await bench.order(ALICE, "alice", seed), print)
        before = {each.name: each for each in await bench.builder.inputs()}
        assert set(before) == {"hyperhive", "nixpkgs"}
        stub = top / "stub" / "flake.nix"
        stub.write_text(stub.read_text() + "# newer\n")
        (top / "nix" / "unused").touch()
        assert "no-such" in await refused(
            bench.builder.update_inputs(["no-such"], print), errors.ErrorKind.NOT_FOUND
        )
        word = bench.builder.built_from()
        after = {each.name: each for each in await bench.builder.update_inputs(["nixpkgs"], print)}
        assert after["hyperhive"] == before["hyperhive"]
        assert after["nixpkgs"] != before["nixpkgs"]
        assert bench.builder.built_from() != word == first.built_from
        assert bench.restart().built_from() == bench.builder.built_from()
        second = await bench.builder.build(
            await bench.order(ALICE, "alice", seed, lock=first.lock), print
        )
        assert second.id != first.id and second.lock["flake"] == first.lock["flake"]

    asyncio.run(story())


FAKE = """#!/bin/sh
# A newer nix: one input is updated by `nix flake update X`, and --update-input is unknown.
echo "$*" >> /nix/var/hive/calls
case "$1 $2" in
  "--version "*) echo "nix (Nix) 2.26.3"; exit 0 ;;
  "flake lock")
    case "$*" in *--update-input*) echo "error: unrecognised flag" >&2; exit 1 ;; esac ;;
  "flake update")
    shift 2; flake=; names=
    while test $# != 0; do
      case "$1" in --flake) flake=$2; shift 2 ;; *) names="$names --update-input $1"; shift ;; esac
    done
    exec /usr/bin/nix flake lock $flake $names ;;
esac
exec /usr/bin/nix "$@"
"""


def test_the_words_of_a_newer_nix_are_used_where_there_is_one(top: pathlib.Path) -> None:
    """With a recording program in front of the real one: no newer Nix is here."""

    async def story() -> None:
        fake = top / "fake"
        fake.mkdir()
        (fake / "nix").write_text(FAKE)
        (fake / "nix").chmod(0o755 | stat.S_IXUSR)
        bench = nix_bench.NixBench(
            top, path=f"{fake}:{nix_program.PATH}", binds=[ports.Bind(fake, str(fake))]
        )
        (top / "nix/root/var/hive").mkdir(parents=True, exist_ok=True)
        version = await host.HostProcesses().run([str(fake / "nix"), "--version"])
        assert b"2.26.3" in version.stdout
        seed = await bench.seed(ALICE, "alice")
        assert await bench.builder.build(await bench.order(ALICE, "alice", seed), print)
        await bench.builder.update_inputs(["nixpkgs"], print)
        calls = (top / "nix/root/var/hive/calls").read_text()
        assert "flake update --flake path:/work/flake agent-alice\n" in calls
        assert "flake update --flake path:/work/flake nixpkgs\n" in calls
        assert "--update-input" not in calls

    asyncio.run(story())


def test_what_is_not_for_nix_is_refused_with_the_way_out(top: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(top)
        seed = await bench.seed(ALICE, "alice")
        packages = configuration.Configuration(packages=configuration.Packages(apt=("jq",)))
        order = await bench.order(ALICE, "alice", seed, configuration=packages)
        assert "agent.nix" in await refused(bench.builder.build(order, print))
        (order.source / "flake.nix").unlink()
        order = await bench.order(ALICE, "alice", seed)
        assert "cannot find flake.nix" in await refused(bench.builder.build(order, print))

    asyncio.run(story())


def test_without_nix_it_says_what_to_install(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        bench = nix_bench.NixBench(tmp_path, path="/nonexistent")
        (found,) = await bench.builder.probe()
        assert found.severity is ports.Severity.BROKEN and "nix-bin" in found.remedy

    asyncio.run(story())
