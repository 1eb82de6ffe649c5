"""The steps of ./check, in order; the first that fails ends it.

Lines of progress are its own, everything else is the tools'. The last line adds up all
groups of tests in the form of pytest's closing line.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PACKAGES = {
    "bwrap": "bubblewrap",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "chromium": "chromium",
    "strace": "strace",
    "git": "git",
    "rg": "ripgrep",
    "nix": "nix-bin",
}
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command as run; run()"
GROUPS = {
    "unit": ["-m", "not system and not browser", "-n", "2"],
    "system": ["-m", "system and not browser", "-n", "2", "--dist", "loadfile"],
    "browser": ["-m", "browser"],
}


class Failed(Exception):
    """A step failed; its output has been shown."""


class Run:
    """The steps so far, with their times."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.reports: list[pathlib.Path] = []

    def step(self, name: str, argv: list[str], allowed: tuple[int, ...] = (0,)) -> None:
        """Run one step and show its output; `Failed` unless it exits with an allowed code."""
        print(f"\n--- {name}", flush=True)
        started = time.monotonic()
        code = subprocess.run(argv, cwd=ROOT, check=False).returncode
        took = time.monotonic() - started
        self.times.append((name, took))
        if code not in allowed:
            print(f"--- {name}: FAILED with exit code {code} after {took:.1f} s", flush=True)
            raise Failed(name)
        print(f"--- {name}: ok, {took:.1f} s", flush=True)

    def pytest(self, name: str, arguments: list[str]) -> None:
        """Run one group of tests. A group without tests (5) is no failure."""
        report = ROOT / ".cache" / f"{name}.xml"
        report.parent.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)
        self.reports.append(report)
        self.step(
            f"tests: {name}",
            [PYTHON, "-m", "pytest", f"--junitxml={report}", *arguments],
            allowed=(0, 5),
        )

    def summary(self) -> str:
        """All groups together, in the form of pytest's closing line."""
        counts = {"failed": 0, "passed": 0, "skipped": 0, "errors": 0}
        seconds = 0.0
        for report in self.reports:
            if not report.exists():
                continue
            for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
                total = int(suite.get("tests", "0"))
                failed = int(suite.get("failures", "0"))
                errors = int(suite.get("errors", "0"))
                skipped = int(suite.get("skipped", "0"))
                counts["failed"] += failed
                counts["errors"] += errors
                counts["skipped"] += skipped
                counts["passed"] += total - failed - errors - skipped
                seconds += float(suite.get("time", "0"))
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        return f" {said or 'no tests ran'} in {seconds:.2f}s ".center(78, "=")


def install_packages(run: Run) -> None:
    """Install what the tests need from Debian, as root; else say the command."""
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"check: cannot run every test: run: sudo {' '.join(install)}", file=sys.stderr)
        raise Failed("packages")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run.step("packages: lists", ["apt-get", "--quiet", "--quiet", "update"])
    run.step("packages: " + " ".join(missing), install)


def prepare(run: Run) -> None:
    """Provision what the system tests share, once per machine."""
    cache = os.environ["HIVE_TEST_CACHE"]
    run.step(
        "prepare: claude and base system",
        [PYTHON, "-m", "hyperhive.cli", "prepare", "--cache", cache],
    )


def lint(run: Run) -> None:
    """Format, lint, types and import contracts."""
    run.step("format", [PYTHON, "-m", "ruff", "format", "--check", "."])
    run.step("lint", [PYTHON, "-m", "ruff", "check", "."])
    run.step("types", [PYTHON, "-m", "pyright"])
    run.step("import contracts", [PYTHON, "-c", LINT_IMPORTS])


def main() -> int:
    """Run what the arguments ask for and return the exit code."""
    parser = argparse.ArgumentParser(prog="./check", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="WHAT")
    commands.add_parser("all", help="everything (the default)")
    commands.add_parser("fast", help="all but system and browser tests; nothing is installed")
    commands.add_parser("lint", help="format, lint, types and import contracts only")
    commands.add_parser("prepare", help="install packages, claude and the base system only")
    commands.add_parser("test", help="pytest alone, with the arguments that follow", add_help=False)
    given, rest = parser.parse_known_args()
    if rest and given.command != "test":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    os.environ.setdefault("HIVE_TEST_CACHE", str(pathlib.Path.home() / ".cache/hyperhive-test"))
    run = Run()
    try:
        if given.command == "test":
            return subprocess.run([PYTHON, "-m", "pytest", *rest], cwd=ROOT, check=False).returncode
        if given.command in (None, "all", "prepare"):
            install_packages(run)
            prepare(run)
        if given.command != "prepare":
            lint(run)
        if given.command in (None, "all", "fast"):
            run.pytest("unit", GROUPS["unit"])
        if given.command in (None, "all"):
            run.pytest("system", GROUPS["system"])
            run.pytest("browser", GROUPS["browser"])
    except Failed as failed:
        print(f"\ncheck: failed at: {failed}", file=sys.stderr)
        if run.reports:
            print(run.summary())
        return 1
    print()
    for name, took in run.times:
        print(f"{took:8.1f} s  {name}")
    if run.reports:
        print(run.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
