"""Who and what is on the forge."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import secrets
import subprocess
from typing import Any

UNITS = ("issues", "wiki", "pull_requests", "projects", "releases", "packages", "actions")
UNITS_OFF_AT_FIRST = frozenset({"packages"})
SCOPES = frozenset(
    f"{verb}:{what}"
    for verb in ("read", "write")
    for what in ("organization", "repository", "user", "admin", "issue", "package", "misc")
) | {"all"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RESERVED = frozenset({"api", "admin", "user", "org", "explore", "assets"})
RESERVED_ENDS = (".git", ".wiki", ".rss", ".atom")

HOOK = """#!/bin/sh
# What the forge's own hook refuses.
while read -r old new ref; do
  if [ "$ref" = refs/heads/main ]; then
    case "$new" in *[!0]*) ;; *)
      echo "Gitea: branch main is the default branch and cannot be deleted" >&2; exit 1 ;;
    esac
    if [ -e protected ]; then
      echo "Gitea: Not allowed to push to protected branch main" >&2; exit 1
    fi
  fi
  if [ -e refuse ] && grep -q -x -F "$ref" refuse; then
    echo "Gitea: refused on order" >&2; exit 1
  fi
done
"""


@dataclasses.dataclass
class Account:
    login: str
    password: str
    is_admin: bool = False
    may_create_organisations: bool = True


@dataclasses.dataclass
class Token:
    account: Account
    scopes: frozenset[str]
    name: str

    def allows(self, scope: str) -> bool:
        verb, _, what = scope.partition(":")
        return bool({"all", scope, f"write:{what}" if verb == "read" else scope} & self.scopes)


@dataclasses.dataclass
class Repository:
    name: str
    path: pathlib.Path
    private: bool
    description: str = ""
    archived: bool = False
    default_branch: str = "main"
    units: dict[str, bool] = dataclasses.field(
        default_factory=lambda: {unit: unit not in UNITS_OFF_AT_FIRST for unit in UNITS}
    )
    topics: list[str] = dataclasses.field(default_factory=list)
    stubborn: set[str] = dataclasses.field(default_factory=set)
    """Settings that a PATCH does not change, although it answers 200."""

    def refs(self) -> dict[str, str]:
        listed = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ") for line in listed.splitlines())


@dataclasses.dataclass
class Organisation:
    name: str
    visibility: str
    members: list[Account]
    description: str = ""
    full_name: str = ""
    repositories: dict[str, Repository] = dataclasses.field(default_factory=dict)
    redirects: dict[str, str] = dataclasses.field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        return {
            "id": 1,
            "name": self.name,
            "username": self.name,
            "full_name": self.full_name,
            "description": self.description,
            "visibility": self.visibility,
            "repo_admin_change_team_access": False,
            "avatar_url": "", "email": "", "location": "", "website": "",
        }  # fmt: skip


class World:
    """Accounts, tokens, organisations and repositories. Names do not know case."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, Token] = {}
        self.organisations: dict[str, Organisation] = {}
        self._made = 0

    def add_account(self, login: str, *, admin: bool = False) -> Account:
        account = Account(login, secrets.token_hex(8), admin)
        self.accounts[login.lower()] = account
        return account

    def add_token(self, login: str, *scopes: str, name: str = "") -> str:
        value = secrets.token_hex(20)
        account = self.accounts[login.lower()]
        self.tokens[value] = Token(account, frozenset(scopes), name or value[:6])
        return value

    def organisation(self, name: str) -> Organisation | None:
        return self.organisations.get(name.lower())

    def add_repository(self, owner: Organisation, name: str, *, private: bool) -> Repository:
        self._made += 1
        path = self.root / f"{self._made}.git"
        git(self.root, "init", "--quiet", "--bare", "--initial-branch=main", str(path))
        git(path, "config", "http.receivepack", "true")
        git(path, "config", "receive.advertiseAtomic", "true")
        hook = path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK)
        hook.chmod(0o755)
        made = Repository(name, path, private)
        owner.repositories[name.lower()] = made
        owner.redirects.pop(name.lower(), None)
        return made

    def rename(self, owner: Organisation, repository: Repository, name: str) -> None:
        del owner.repositories[repository.name.lower()]
        owner.redirects[repository.name.lower()] = name
        owner.redirects.pop(name.lower(), None)
        repository.name = name
        owner.repositories[name.lower()] = repository

    def sees(self, account: Account | None, owner: Organisation) -> bool:
        if owner.visibility == "public":
            return True
        return account is not None and (account.is_admin or account in owner.members)

    def owns(self, account: Account | None, owner: Organisation) -> bool:
        return account is not None and (account.is_admin or account in owner.members)


ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@t",
}  # fmt: skip


def git(where: pathlib.Path, *argv: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["git", *argv], cwd=where, env=ENVIRONMENT, input=stdin, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout.strip()
