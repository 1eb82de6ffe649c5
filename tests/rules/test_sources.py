"""What holds for every file: size, docstrings, error style, imports without effects."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "hyperhive").rglob("*.py"))
LINES_MAX = 400
BROAD_EXCEPT = {
    "src/hyperhive/runtime/supervisor.py",
    # Where a request is answered: a bug is its answer, with a reference to the log.
    "src/hyperhive/edges/agent_api/mcp_server.py",
    "src/hyperhive/edges/dashboard/server.py",
    "src/hyperhive/edges/json_lines.py",
    # Raised again in whoever waits for the answer of the call.
    "src/hyperhive/edges/agent_api/calls.py",
    # A copy for convenience must not end the daemon.
    "src/hyperhive/runtime/mirror_loop.py",
    # Raised again outside the task group, which would wrap it.
    "src/hyperhive/services/waiting.py",
}


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every file that git knows, or would add."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


def test_no_source_is_longer_than_a_person_reads_at_once() -> None:
    long = {name(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert [path for path, count in long.items() if count > LINES_MAX] == []


def test_every_module_says_what_it_is() -> None:
    silent = [name(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_nothing_is_left_to_do() -> None:
    marked = re.compile(r"#\s*(TODO|FIXME|XXX|HACK)\b")
    assert [name(path) for path in SOURCES if marked.search(path.read_text())] == []


def catches_all(node: ast.AST) -> bool:
    """Whether this is a handler, or a `contextlib.suppress`, that lets a bug disappear."""
    if isinstance(node, ast.ExceptHandler):
        caught = node.type
        names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        return any(is_everything(each) for each in names) and not reraises(node)
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "suppress"
        and any(is_everything(each) for each in node.args)
    )


def is_everything(caught: ast.AST | None) -> bool:
    every = ("Exception", "BaseException")
    return caught is None or (isinstance(caught, ast.Name) and caught.id in every)


def reraises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept: pass", True),
        ("try: f()\nexcept (OSError, BaseException) as e: log(e)", True),
        ("with contextlib.suppress(OSError, Exception): f()", True),
        ("try: f()\nexcept BaseException:\n    g()\n    raise", False),
        ("try: f()\nexcept OSError: pass", False),
        ("with contextlib.suppress(OSError): f()", False),
    ],
)
def test_the_rule_sees_who_catches_everything(text: str, caught: bool) -> None:
    assert any(catches_all(node) for node in ast.walk(ast.parse(text))) is caught


def test_only_borders_catch_everything() -> None:
    found = {
        name(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if catches_all(node)
    }
    assert found <= BROAD_EXCEPT


REFUSALS = ("invalid", "forbidden", "not_found", "conflict", "unavailable")


def refusals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and beginning of each message that is written where it is raised."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "errors"
            and node.func.attr in REFUSALS
        ):
            continue
        text = node.args[0]
        if isinstance(text, ast.JoinedStr):
            text = text.values[0]
        if isinstance(text, ast.Constant):
            yield node.lineno, str(text.value)


def test_refusals_say_what_cannot_be_done() -> None:
    found = [
        (f"{name(path)}:{line}", text)
        for path in SOURCES
        for line, text in refusals(ast.parse(path.read_text()))
    ]
    assert len(found) > 50
    assert [each for each in found if not each[1].startswith("cannot ")] == []


def test_importing_any_module_does_nothing() -> None:
    """Each is imported in one clean process, which must end as silent and alone as it was."""
    modules = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        # Programs, not modules: they run when they are imported.
        if path.stem not in ("__main__", "entry")
    ]
    look = """
import importlib, os, sys, threading
fds = len(os.listdir("/proc/self/fd"))
before = (os.getcwd(), dict(os.environ), os.umask(0o22), fds)
os.umask(before[2])
for module in sys.argv[1:]:
    importlib.import_module(module)
umask = os.umask(0o22)
after = (os.getcwd(), dict(os.environ), umask, len(os.listdir("/proc/self/fd")))
assert after[:3] == before[:3], "the process was changed"
assert after[3] <= before[3] + 1, "files were left open"  # /dev/urandom may stay open
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", look, *modules],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


HOME_PATHS = re.compile(r"/root/\.|/home/[a-z]+/")
ADDRESS = re.compile(r'"(?:resolved|tarball)"\s*:')


def test_no_file_names_a_path_of_somebodys_machine(tracked: list[str]) -> None:
    found: list[str] = []
    for path in tracked:
        if path == name(pathlib.Path(__file__)) or "/vendor/" in path:
            continue
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path}: {match[0]}" for match in HOME_PATHS.finditer(text)]
    assert found == []


def test_lock_files_hold_no_download_addresses(tracked: list[str]) -> None:
    """Each user's own client knows where packages come from."""
    locks = [path for path in tracked if path.endswith("package-lock.json")]
    assert locks
    assert [path for path in locks if ADDRESS.search((ROOT / path).read_text())] == []


def test_programs_can_be_executed(tracked: list[str]) -> None:
    for path in ("hive", "check", ".ci/run"):
        assert path in tracked
        assert (ROOT / path).stat().st_mode & 0o111
        assert (ROOT / path).read_text().startswith("#!/bin/sh\n")
