"""A configuration for Nix, in a real hive: from a commit to a program in the sandbox, and back.

The real claude program, real git, the real Nix of Debian; nixpkgs is a stub, the model is
scripted, and nothing is fetched from anywhere.
"""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Iterator

import pytest
from tests.system import hive_process as hives
from tests.system.configuring import bash, built, configured_hive, ends, git, idle, proposes, says

from rigs import nix_bench

pytestmark = [pytest.mark.system, pytest.mark.timeout(420)]


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    try:
        nix_bench.require_nix()
    except LookupError as error:
        pytest.fail(str(error))
    home = tmp_path / "home"
    home.mkdir()
    stub = tmp_path / "stub"
    shutil.copytree(nix_bench.STUB, stub)
    (home / "hive.toml").write_text(
        f'builder = "nix"\nnix_nixpkgs = "path:{stub}"\nnix_substituters = []\n'
    )
    with configured_hive(home, test_cache) as process:
        yield process


MODULE = """\
{ pkgs, ... }: {
  environment.systemPackages = [ (pkgs.writeShellScriptBin "greet" "echo well met") ];
}
"""


def test_from_a_module_to_a_program_and_back(hive: hives.HiveProcess) -> None:
    coder = hive.agent("coder")
    assert coder is not None
    applied = hive.home / "applied" / f"{coder['id']}.git"
    assert says(hive, "coder", bash("command -v greet || echo no greet")).strip() == "no greet"
    asked = proposes(hive, f"cat > agent.nix <<'END'\n{MODULE}END", "Let coder greet")
    number, sha = asked["approval"], asked["sha"]
    built(hive, number)
    hive.ask("approve", str(number))
    ends(hive, number, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))
    assert "well met" in says(hive, "coder", bash("greet; touch /nix/store/x"))

    # meta pins it; the manager reads it there, and Nix has nothing to add.
    lock = json.loads((hive.home / "meta" / "flake.lock").read_text())
    assert lock["nodes"]["agent-coder"]["locked"]["rev"] == sha
    assert "agent-manager" in lock["nodes"]
    seen = says(hive, "manager", bash("git -C /meta show main:flake.nix"))
    assert sha in seen

    # A broken module fails with its file and line; nothing changes.
    broken = proposes(hive, "echo '{ pkgs, ... }: { x = pkgs.nope; ' > agent.nix", "Break it")
    failed = ends(hive, broken["approval"], "failed")
    assert "agent.nix:" in failed["note"]
    assert (hive.home / "meta" / "flake.lock").read_text() == json.dumps(
        lock, indent=2, sort_keys=True
    ) + "\n"
    assert "well met" in says(hive, "coder", bash("greet"))

    back = hive.ask("rollback", "coder", "deployed/0")["id"]
    built(hive, back)
    hive.ask("approve", str(back))
    ends(hive, back, "deployed")
    hive.until("coder is back", lambda: idle(hive, "coder"))
    assert says(hive, "coder", bash("command -v greet || echo no greet")).strip() == "no greet"
    assert git(applied, "diff", "deployed/0", f"deployed/{back}") == ""
    subjects = git(hive.home / "meta", "log", "--format=%s").splitlines()
    assert f"deploy coder deployed/{number} {sha[:12]}" in subjects
