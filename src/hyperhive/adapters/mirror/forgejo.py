"""A private organisation of a Forgejo (or Gitea) as the mirror.

Fail closed: nothing is pushed before the forge has said, in this very sync, that the
repository is private, open and runs no actions. Each sync reads the token anew, compares refs
with ``ls-remote`` and pushes the difference in small atomic steps, so that it does not matter
what an earlier one left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from hyperhive import ports
from hyperhive.adapters.mirror import api, findings, git, refs
from hyperhive.adapters.mirror.place import Place, checked
from hyperhive.domain import errors

_CLOSED: Final = {"private": True, "archived": False, "has_actions": False}
"""Held at every sync. Actions would run what agents write on the forge's runners."""
_BARE: Final = {
    "has_issues": False, "has_pull_requests": False, "has_wiki": False, "has_projects": False,
    "has_releases": False, "has_packages": False,
}  # fmt: skip
"""Asked for once, when a repository is made; an operator may want them later."""


class ForgejoMirror:
    """Implements `ports.Mirror`. One piece of work at a time."""

    def __init__(
        self,
        place: Place,
        secrets: ports.Secrets,
        processes: ports.Processes,
        clock: ports.Clock,
        notice: Callable[[str], None],
        *,
        api_seconds: float = 20.0,
        list_seconds: float = 60.0,
        push_seconds: float = 180.0,
    ) -> None:
        """*notice* gets a sentence when somebody else has changed something on the forge."""
        self._place = place
        self._secrets = secrets
        self._processes = processes
        self._clock = clock
        self._notice = notice
        self._api_seconds = api_seconds
        self._list_seconds = list_seconds
        self._push_seconds = push_seconds
        # Two pushes of one ref make one of them fail.
        self._alone = asyncio.Lock()

    async def probe(self) -> list[ports.Finding]:
        """Whether the forge answers, the account is no admin, the organisation is private."""
        try:
            token = await self._token()
        except ports.MirrorError as error:
            return findings.no_token(self._place, error)
        async with self._api(token) as forge:
            return await findings.look(forge, self._place)

    async def prepare(self) -> None:
        """Make the private organisation if missing, and check it."""
        async with self._alone, self._api(await self._token()) as forge:
            await self._close_organisation(forge)

    async def sync(self, target: ports.MirrorTarget) -> int:
        """Make the forge's refs those of *target*; how many were changed."""
        async with self._alone:
            token = await self._token()
            async with self._api(token) as forge:
                await self._open_repository(forge, target.name)
                try:
                    return await self._push(self._git(token), target)
                except git.PushFailed as failure:
                    await self._explain(forge, target.name, failure)

    async def forget(self, name: str) -> None:
        """Archive the repository under a name that no agent can have."""
        path = self._repository(name)
        async with self._alone, self._api(await self._token()) as forge:
            found = await forge.call("GET", path, usable={200, 307, 404})
            if found.status != 200:
                return
            aside = f"{name}.{self._clock.now():%Y%m%d-%H%M%S}"
            await forge.call("PATCH", path, usable={200}, body={"name": aside, "archived": True})

    # --- the organisation -------------------------------------------------------------

    async def _close_organisation(self, forge: api.Api) -> None:
        path = f"/orgs/{self._place.organisation}"
        found = await forge.call("GET", path, usable={200, 404})
        if found.status == 404:
            found = await self._make_organisation(forge, path)
        if found.word("visibility") != "private":
            self._notice(
                f"the organisation {self._place.organisation} was not private on the forge; "
                "it is made private again"
            )
            found = await forge.call("PATCH", path, usable={200}, body={"visibility": "private"})
        if found.word("visibility") != "private":
            raise ports.MirrorError(
                ports.Fault.EXPOSED,
                f"cannot mirror to {self._place.base}: the organisation "
                f"{self._place.organisation} does not become private",
            )

    async def _make_organisation(self, forge: api.Api, path: str) -> api.Answer:
        made = await forge.call(
            "POST",
            "/orgs",
            usable={201, 422},
            body={
                "username": self._place.organisation,
                "visibility": "private",
                "description": "Configurations of a hive, pushed by its daemon. Changes here do "
                "nothing and are undone.",
                "repo_admin_change_team_access": False,
            },
        )
        if made.status == 201:
            return made
        # 422 says also that it exists: it may have been made just now.
        found = await forge.call("GET", path, usable={200, 404})
        if found.status == 200:
            return found
        raise ports.MirrorError(
            ports.Fault.REFUSED,
            f"cannot make the organisation {self._place.organisation} on {self._place.base}: the "
            "name is taken or not allowed there; set forge_organisation to another one, or make "
            "the token's account an owner of it",
        )

    # --- a repository -----------------------------------------------------------------

    async def _open_repository(self, forge: api.Api, name: str) -> None:
        """Leave the repository there, private, writable and without actions."""
        path = self._repository(name)
        found = await forge.call("GET", path, usable={200, 307, 404})
        fresh = found.status != 200
        if fresh:
            if found.status == 307:
                self._notice(
                    f"the repository {name} was renamed on the forge; a new one is made, and the "
                    "renamed one stays as it is"
                )
            found = await self._make_repository(forge, name, path)
        wanted = _CLOSED | _BARE if fresh else _CLOSED
        # A unit that the forge does not know cannot be on; the other two words must be there.
        differs = {
            key: value
            for key, value in wanted.items()
            if found.truth(key) is not value
            and (found.truth(key) is not None or not key.startswith("has_"))
        }
        if not differs:
            return
        if not fresh:
            self._notice(
                f"the repository {name} was changed on the forge; set again: "
                + ", ".join(f"{key} {str(value).lower()}" for key, value in differs.items())
            )
        found = await forge.call("PATCH", path, usable={200}, body=differs)
        self._require_closed(found, name)

    async def _make_repository(self, forge: api.Api, name: str, path: str) -> api.Answer:
        made = await forge.call(
            "POST",
            f"/orgs/{self._place.organisation}/repos",
            usable={201, 404, 409},
            body={
                "name": name,
                # Without this word it would be public, even in a private organisation.
                "private": True,
                "auto_init": False,
                "default_branch": "main",
                "description": f"Configuration of {name}. Pushed by a hive; do not push here.",
            },
        )
        if made.status == 404:
            await self._close_organisation(forge)
            raise ports.MirrorError(
                ports.Fault.FAILING,
                f"cannot make the repository {name} on {self._place.base}: the organisation was "
                "missing and has been made; try again",
            )
        if made.status == 201:
            return made
        return await forge.call("GET", path, usable={200})

    def _require_closed(self, found: api.Answer, name: str) -> None:
        what = f"cannot mirror {name} to {self._place.base}: the repository"
        if found.truth("private") is not True:
            raise ports.MirrorError(ports.Fault.EXPOSED, f"{what} does not become private")
        if found.truth("archived") is not False:
            raise ports.MirrorError(ports.Fault.ARCHIVED, f"{what} stays archived")
        if found.truth("has_actions"):
            raise ports.MirrorError(
                ports.Fault.REFUSED, f"{what} would run actions; switch them off on the forge"
            )

    # --- refs -------------------------------------------------------------------------

    async def _push(self, runner: git.Git, target: ports.MirrorTarget) -> int:
        wanted = refs.ours(target.refs)
        there = await runner.list_refs(target.repository, target.name)
        for name in refs.moved(wanted, there):
            self._notice(f"{target.name}: {name} was moved on the forge; it is set again")
        specs = refs.plan(wanted, there)
        for chunk in refs.chunks(specs):
            try:
                await runner.push(target.repository, target.name, chunk)
            except git.PushFailed:
                # An answer that was lost makes git send the same again, and fail: look.
                there = await runner.list_refs(target.repository, target.name)
                if set(chunk) & set(refs.plan(wanted, there)):
                    raise
        return len(specs)

    async def _explain(self, forge: api.Api, name: str, failure: git.PushFailed) -> NoReturn:
        """Raise what is wrong: git's exit status does not tell, the API does."""
        found = await forge.call("GET", self._repository(name), usable={200, 404, 307})
        if found.status == 200:
            self._require_closed(found, name)
        fault = ports.Fault.REFUSED if failure.refused else ports.Fault.FAILING
        what = "does not take it" if failure.refused else "cannot be reached by git"
        raise ports.MirrorError(
            fault, f"cannot push {name} to {self._place.base}: the forge {what}: {failure.said}"
        )

    # --- parts ------------------------------------------------------------------------

    def _repository(self, name: str) -> str:
        return f"/repos/{self._place.organisation}/{checked(name)}"

    def _api(self, token: str) -> api.Api:
        return api.Api(self._place, token, self._clock, self._api_seconds)

    def _git(self, token: str) -> git.Git:
        return git.Git(self._processes, self._place, token, self._list_seconds, self._push_seconds)

    async def _token(self) -> str:
        try:
            token = ((await self._secrets.read(ports.TOKEN_SECRET)) or "").strip()
        except errors.HiveError as error:
            raise ports.MirrorError(ports.Fault.LOCAL, error.message) from error
        if not token:
            raise ports.MirrorError(
                ports.Fault.UNAUTHORISED,
                f"cannot mirror to {self._place.base}: no token is set; set one with: "
                "hive forge set-token",
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ports.MirrorError(
                ports.Fault.UNAUTHORISED,
                f"cannot mirror to {self._place.base}: the secret {ports.TOKEN_SECRET} is damaged; "
                "set it again with: hive forge set-token",
            )
        return token
