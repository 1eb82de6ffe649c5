"""Bar 2: git runs in few places, and none of them names a repository that agents can write."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "hyperhive").rglob("*.py"))
ADAPTERS = "src/hyperhive/adapters"
PLACES = {
    # On our own repositories, which it checks.
    f"{ADAPTERS}/config_repo/git.py": 1,
    # In a throw-away sandbox.
    f"{ADAPTERS}/config_repo/quarantine.py": 1,
    # The same, on a copy of objects and refs of an older hive.
    f"{ADAPTERS}/config_repo/adopting.py": 1,
    # In the requester's own sandbox.
    f"{ADAPTERS}/config_repo/producer.py": 1,
    # Pushes our own repositories to a forge.
    f"{ADAPTERS}/mirror/git.py": 1,
    # git --version.
    f"{ADAPTERS}/host/facts.py": 1,
}
DIRECTORY_WORDS = ("--git-dir", "GIT_DIR", "--work-tree", "GIT_WORK_TREE", "safe.directory")
AGENT_WORDS = ("proposed", "agents", "/state")


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def is_git(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (node.value == "git" or node.value.endswith("/git"))
    )


def commands(tree: ast.AST) -> Iterator[int]:
    """Lines of lists and tuples that begin with git, as an argv does, and of shell commands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple) and len(node.elts) > 1 and is_git(node.elts[0]):
            second = node.elts[1]
            # Names of packages are no command.
            if not (isinstance(second, ast.Constant) and second.value in ("git", "python3")):
                yield node.lineno
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            first, _, rest = node.value.partition(" ")
            if first == "git" and rest.startswith(("-C ", "--git-dir", "-c ")):
                yield node.lineno
            if "exec git " in node.value:
                yield node.lineno


def texts(tree: ast.AST) -> Iterator[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documentation
        ):
            yield node.value


def test_only_these_places_start_git() -> None:
    found = {
        name(path): len(lines)
        for path in SOURCES
        if (lines := list(commands(ast.parse(path.read_text()))))
    }
    assert found == PLACES


def test_only_these_places_say_where_a_repository_is() -> None:
    found = {
        name(path)
        for path in SOURCES
        for text in texts(ast.parse(path.read_text()))
        if any(word in text for word in DIRECTORY_WORDS)
    }
    # The last one forbids agents' environments to say it.
    allowed = {*PLACES, "src/hyperhive/services/configuration_values.py"}
    assert found <= allowed


def calls_of_git(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr in ("run", "attempt", "init") and owner.rpartition(".")[2] in (
            "git", "_git", "own_git",
        ):  # fmt: skip
            yield node


def test_no_call_names_a_place_of_agents() -> None:
    seen = 0
    for path in SOURCES:
        for call in calls_of_git(ast.parse(path.read_text())):
            seen += 1
            words = " ".join(map(ast.unparse, [*call.args, *call.keywords]))
            bad = [word for word in AGENT_WORDS if word in words]
            assert bad == [], f"{name(path)}:{call.lineno}: {words}"
    assert seen >= 5


def test_who_makes_a_git_says_what_it_never_touches() -> None:
    made = [
        (name(path), {keyword.arg for keyword in node.keywords})
        for path in SOURCES
        if "/mirror/" not in name(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("git.Git")
    ]
    assert made
    assert [each for each in made if "never" not in each[1]] == []
