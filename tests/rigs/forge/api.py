"""The API subset, with the statuses and shapes of a real server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from rigs.forge.state import (
    NAME,
    RESERVED,
    RESERVED_ENDS,
    SCOPES,
    UNITS,
    Account,
    Organisation,
    Repository,
    World,
)

Allows = Callable[[str], bool] | None
"""Whether the token has a scope; None: signed in without one."""
Json = dict[str, Any]
ABSENT = "The target couldn't be found."


def json_error(status: int, message: str, errors: object = ()) -> web.Response:
    body: Json = {"message": message, "url": "http://forge/api/swagger"}
    if errors != ():
        body["errors"] = errors
    return web.json_response(body, status=status)


class _Refusal(Exception):
    def __init__(self, status: int, message: str, errors: object = ()) -> None:
        super().__init__(message)
        self.response = json_error(status, message, errors)


class Api:
    def __init__(self, world: World, url: Callable[[], str]) -> None:
        self._world = world
        self._url = url

    def answer(
        self, request: web.Request, body: bytes, account: Account | None, allows: Allows
    ) -> web.Response:
        """Called in a thread: git is run here."""
        path = request.path.removeprefix("/api/v1")
        for method, pattern, name in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == request.method:
                call = Call(self._world, self._url(), request, body, account, allows)
                try:
                    return getattr(call, name)(**found.groupdict())
                except _Refusal as refusal:
                    return refusal.response
        return web.Response(status=404, text="404 page not found\n")


class Call:
    """One request."""

    def __init__(
        self, world: World, url: str, request: web.Request, body: bytes,
        account: Account | None, allows: Allows,
    ) -> None:  # fmt: skip
        self.world = world
        self.url = url
        self.request = request
        self.body = body
        self.account = account
        self.allows = allows

    # --- about the server and the caller ----------------------------------------------

    def version(self) -> web.Response:
        return web.json_response({"version": "11.0.0+gitea-1.22.0"})

    def settings(self) -> web.Response:
        return web.json_response(
            {"max_response_items": 50, "default_paging_num": 30,
             "default_git_trees_per_page": 1000, "default_max_blob_size": 10485760}
        )  # fmt: skip

    def user(self) -> web.Response:
        account = self._signed_in()
        self._need("read:user")
        return web.json_response({"login": account.login, "is_admin": account.is_admin, "id": 1})

    def make_token(self, user: str) -> web.Response:
        account = self._signed_in()
        self._need("write:user")
        if self.allows is not None:
            raise _Refusal(401, "auth required")
        if account.login.lower() != user.lower() and not account.is_admin:
            raise _Refusal(403, "doer should be the site admin or be same as the contextUser")
        given = self._json()
        mine = [token.name for token in self.world.tokens.values() if token.account is account]
        if given.get("name") in mine:
            raise _Refusal(400, "access token name has been used already")
        wrong = [scope for scope in given.get("scopes") or [] if scope not in SCOPES]
        if wrong:
            raise _Refusal(400, f"invalid access token scope provided: {wrong[0]}")
        value = self.world.add_token(user, *(given.get("scopes") or []), name=given["name"])
        return web.json_response({"name": given["name"], "sha1": value, "scopes": None}, status=201)

    # --- organisations ----------------------------------------------------------------

    def make_org(self) -> web.Response:
        account = self._signed_in()
        self._need("write:organization")
        given = self._json()
        name = given.get("username", "")
        if not name:
            raise _Refusal(422, "[UserName]: Required")
        if not NAME.fullmatch(name):
            raise _Refusal(422, "[UserName]: invalid username")
        if given.get("visibility", "public") not in ("public", "limited", "private"):
            raise _Refusal(422, "[Visibility]: In")
        if name.lower() in RESERVED:
            raise _Refusal(422, f"name is reserved [name: {name}]")
        if name.lower() in self.world.organisations or name.lower() in self.world.accounts:
            raise _Refusal(422, f"user already exists [name: {name}]")
        if not account.may_create_organisations:
            raise _Refusal(403, "%!s(<nil>)")
        made = Organisation(
            name, given.get("visibility", "public"), [account], given.get("description", ""),
            given.get("full_name", ""),
        )  # fmt: skip
        self.world.organisations[name.lower()] = made
        return web.json_response(made.view(), status=201)

    def get_org(self, org: str) -> web.Response:
        self._need("read:organization")
        return web.json_response(self._org(org).view())

    def edit_org(self, org: str) -> web.Response:
        self._signed_in()
        self._need("write:organization")
        found = self._org_to_change(org, "Must be an organization owner")
        found.visibility = self._json().get("visibility", found.visibility)
        return web.json_response(found.view())

    def members(self, org: str) -> web.Response:
        self._need("read:organization")
        found = self._org(org)
        return web.json_response([{"login": each.login} for each in found.members])

    def list_repos(self, org: str) -> web.Response:
        self._need("read:organization")
        found = self._org(org)
        rows = [found.repositories[key] for key in sorted(found.repositories)]
        limit = min(int(self.request.query.get("limit", "30")), 50)
        page = int(self.request.query.get("page", "1"))
        last = max(1, -(-len(rows) // limit))
        links: list[str] = []
        for number, word in ((page + 1, "next"), (last, "last")) if page < last else ():
            links.append(self._link(org, limit, number, word))
        for number, word in ((1, "first"), (min(page, last) - 1, "prev")) if page > 1 else ():
            links.append(self._link(org, limit, number, word))
        headers = {"X-Total-Count": str(len(rows)), "Link": ",".join(links)}
        part = rows[(page - 1) * limit : page * limit]
        return web.json_response([self._view(found, each) for each in part], headers=headers)

    def _link(self, org: str, limit: int, page: int, word: str) -> str:
        query = urlencode({"limit": limit, "page": page})
        return f'<{self.url}/api/v1/orgs/{org}/repos?{query}>; rel="{word}"'

    # --- repositories -----------------------------------------------------------------

    def make_repo(self, org: str) -> web.Response:
        self._signed_in()
        # The tested server asks for no more than this.
        self._need("write:organization")
        given = self._json()
        name = given.get("name", "")
        if not name:
            raise _Refusal(422, "[Name]: Required")
        if not NAME.fullmatch(name):
            raise _Refusal(422, "[Name]: AlphaDashDot")
        owner = self._org(org)
        if not self.world.owns(self.account, owner):
            raise _Refusal(403, "Given user is not allowed to create repository in organization")
        if name.lower().endswith(RESERVED_ENDS):
            raise _Refusal(422, f"name pattern is not allowed [pattern: *{name[-5:]}]")
        if name.lower() in owner.repositories:
            raise _Refusal(409, "The repository with the same name already exists.")
        made = self.world.add_repository(owner, name, private=bool(given.get("private", False)))
        made.description = given.get("description", "")
        return web.json_response(self._view(owner, made), status=201)

    def get_repo(self, org: str, repo: str) -> web.Response:
        self._need("read:repository")
        owner, found = self._repo(org, repo)
        return web.json_response(self._view(owner, found))

    def edit_repo(self, org: str, repo: str) -> web.Response:
        owner, found = self._repo_to_change(org, repo)
        given = self._json()
        for key in ("private", "archived", "default_branch"):
            if key in given and key not in found.stubborn:
                setattr(found, key, given[key])
        for unit in UNITS:
            if f"has_{unit}" in given and f"has_{unit}" not in found.stubborn:
                found.units[unit] = given[f"has_{unit}"]
        if given.get("name", found.name) != found.name:
            self.world.rename(owner, found, given["name"])
        return web.json_response(self._view(owner, found))

    def delete_repo(self, org: str, repo: str) -> web.Response:
        owner, found = self._repo_to_change(org, repo)
        del owner.repositories[found.name.lower()]
        shutil.rmtree(found.path)
        return web.Response(status=204)

    def protect(self, org: str, repo: str) -> web.Response:
        _, found = self._repo_to_change(org, repo)
        mark = found.path / "protected"
        if mark.exists():
            raise _Refusal(403, "Branch protection already exist")
        mark.touch()
        return web.json_response({"rule_name": "main", "enable_push": False}, status=201)

    def unprotect(self, org: str, repo: str) -> web.Response:
        _, found = self._repo_to_change(org, repo)
        (found.path / "protected").unlink()
        return web.Response(status=204)

    # --- parts ------------------------------------------------------------------------

    def _json(self) -> Json:
        try:
            given = json.loads(self.body)
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise _Refusal(422, "[]: invalid character looking for beginning of value")
        return given

    def _signed_in(self) -> Account:
        if self.account is None:
            raise _Refusal(401, "token is required")
        return self.account

    def _need(self, scope: str) -> None:
        if self.allows is not None and not self.allows(scope):
            said = f"token does not have at least one of required scope(s): [{scope}]"
            raise _Refusal(403, said)

    def _org(self, name: str) -> Organisation:
        found = self.world.organisation(name)
        if found is None:
            missing = f"user redirect does not exist [name: {name}]"
            raise _Refusal(404, "GetOrgByName", [missing])
        if not self.world.sees(self.account, found):
            raise _Refusal(404, "HasOrgOrUserVisible", None)
        return found

    def _org_to_change(self, name: str, refusal: str) -> Organisation:
        found = self.world.organisation(name)
        if found is None:
            self._org(name)
            raise AssertionError
        if not self.world.owns(self.account, found):
            raise _Refusal(403, refusal)
        return found

    def _repo(self, org: str, name: str) -> tuple[Organisation, Repository]:
        owner = self.world.organisation(org)
        if owner is None:
            raise _Refusal(404, ABSENT, None)
        found = owner.repositories.get(name.lower())
        visible = self.world.sees(self.account, owner)
        if found is None:
            moved = owner.redirects.get(name.lower())
            if moved is not None and visible:
                place = f"/api/v1/repos/{org}/{moved}"
                raise _Moved(place)
            raise _Refusal(404, ABSENT, None)
        if not visible or (found.private and not self.world.owns(self.account, owner)):
            raise _Refusal(404, ABSENT, None)
        return owner, found

    def _repo_to_change(self, org: str, name: str) -> tuple[Organisation, Repository]:
        self._signed_in()
        self._need("write:repository")
        owner, found = self._repo(org, name)
        if not self.world.owns(self.account, owner):
            raise _Refusal(403, "Must be a repository admin")
        return owner, found

    def _view(self, owner: Organisation, found: Repository) -> Json:
        full = f"{owner.name}/{found.name}"
        return {
            "id": 1,
            "name": found.name,
            "full_name": full,
            "description": found.description,
            "private": found.private,
            "internal": False,
            "archived": found.archived,
            "mirror": False,
            "empty": not any(name.startswith("refs/heads/") for name in found.refs()),
            "default_branch": found.default_branch,
            "clone_url": f"{self.url}/{full}.git",
            "html_url": f"{self.url}/{full}",
            **{f"has_{unit}": on for unit, on in found.units.items()},
        }


class _Moved(_Refusal):
    def __init__(self, place: str) -> None:
        super().__init__(307, "")
        text = f'<a href="{place}">Temporary Redirect</a>.\n\n'
        self.response = web.Response(
            status=307, headers={"Location": place}, text=text, content_type="text/html"
        )


_ORG = r"/orgs/(?P<org>[^/]+)"
_REPO = r"/repos/(?P<org>[^/]+)/(?P<repo>[^/]+)"
ROUTES = [
    ("GET", "/version", "version"),
    ("GET", "/settings/api", "settings"),
    ("GET", "/user", "user"),
    ("POST", "/users/(?P<user>[^/]+)/tokens", "make_token"),
    ("POST", "/orgs", "make_org"),
    ("GET", _ORG, "get_org"),
    ("PATCH", _ORG, "edit_org"),
    ("GET", _ORG + "/members", "members"),
    ("GET", _ORG + "/repos", "list_repos"),
    ("POST", _ORG + "/repos", "make_repo"),
    ("GET", _REPO, "get_repo"),
    ("PATCH", _REPO, "edit_repo"),
    ("DELETE", _REPO, "delete_repo"),
    ("POST", _REPO + "/branch_protections", "protect"),
    ("DELETE", _REPO + "/branch_protections/main", "unprotect"),
]
