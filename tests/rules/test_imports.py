"""Who may import whom (the contracts stand in pyproject.toml)."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_every_adapter_package_is_in_the_contract_of_independence() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    contract = text[text.index('type = "independence"') :]
    packages = {
        path.name
        for path in (ROOT / "src" / "hyperhive" / "adapters").iterdir()
        if (path / "__init__.py").exists()
    }
    assert {name for name in packages if f'"hyperhive.adapters.{name}"' not in contract} == set()
