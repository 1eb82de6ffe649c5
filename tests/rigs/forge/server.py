"""The forge itself: one listener, who is asking, API or git, and trouble on order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import gzip
import pathlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from rigs.forge import smart_http
from rigs.forge.api import Api, json_error
from rigs.forge.state import Account, Repository, Token, World
from rigs.forge.trouble import Kind, Stage, Trouble

BODY_MAX = 512 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    stage: Stage
    method: str
    path: str
    authorization: str


@dataclasses.dataclass(frozen=True)
class Who:
    """Whose credentials a request has; scopes count only where Forgejo looks at them."""

    account: Account | None
    token: Token | None
    basic: bool


class Forge:
    """Serves a `World` on loopback."""

    def __init__(self, root: pathlib.Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.world = World(root)
        self.api = Api(self.world, lambda: self.url)
        self.troubles: list[Trouble] = []
        self.seen: list[Seen] = []
        self.pushes = 0
        """Requests to git-receive-pack that git itself has answered."""
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def up(self) -> None:
        """Listen; again on the port of the first time."""
        application = web.Application(client_max_size=BODY_MAX)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            application, shutdown_timeout=0.1, handler_cancellation=True, access_log=None
        )
        await self._runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def down(self) -> None:
        """Stop listening; what is there stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, root: pathlib.Path) -> AsyncIterator[Forge]:
        """A forge that runs until the end of the block."""
        forge = cls(root)
        await forge.up()
        try:
            yield forge
        finally:
            await forge.down()

    def spoil(self, kind: Kind, *stages: Stage, **how: object) -> Trouble:
        """Order trouble; in all stages unless some are named."""
        trouble = Trouble(kind, frozenset(stages or Stage), **how)  # type: ignore[arg-type]
        self.troubles.append(trouble)
        return trouble

    def repository(self, organisation: str, name: str) -> Repository:
        """For tests that look behind the API."""
        owner = self.world.organisation(organisation)
        assert owner is not None
        return owner.repositories[name.lower()]

    # --- requests ---------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        stage = _stage(request)
        self.seen.append(
            Seen(stage, request.method, request.path, request.headers.get("Authorization", ""))
        )
        for trouble in self.troubles:
            if trouble.takes(stage, request.method, request.path_qs):
                if trouble.kind is Kind.LOST:
                    await self._do(request, stage)
                return await trouble.answer(request)
        return await self._do(request, stage)

    async def _do(self, request: web.Request, stage: Stage) -> web.StreamResponse:
        body = await request.read()
        who = self._who(request)
        if stage is Stage.API:
            if who is None:
                return json_error(401, "user does not exist [uid: 0, name: , keyid: 0]")
            scopes = who.token.allows if who.token is not None else None
            return await asyncio.to_thread(self.api.answer, request, body, who.account, scopes)
        return await self._git(request, body, who)

    def _who(self, request: web.Request) -> Who | None:
        """Nobody (an account of None), somebody, or None for credentials that are wrong."""
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if "token" in request.query:
            kind, value = "token", request.query["token"]
        if not kind:
            return Who(None, None, False)
        if kind.lower() in ("token", "bearer"):
            token = self.world.tokens.get(value)
            return None if token is None else Who(token.account, token, False)
        user, _, password = base64.b64decode(value).decode().partition(":")
        for candidate in (password, user if password in ("", "x-oauth-basic") else ""):
            token = self.world.tokens.get(candidate)
            if token is not None:
                return Who(token.account, token, True)
        account = self.world.accounts.get(user.lower())
        if account is not None and account.password == password:
            return Who(account, None, True)
        return None

    async def _git(self, request: web.Request, body: bytes, who: Who | None) -> web.StreamResponse:
        if who is None or who.account is None:
            headers = {"WWW-Authenticate": 'Basic realm="Forgejo"'}
            return web.Response(status=401, headers=headers, text="Unauthorized")
        parts = request.path.lstrip("/").split("/", 2)
        if len(parts) < 3:
            return web.Response(status=404, text="Not found.")
        owner = self.world.organisation(parts[0])
        push = "git-receive-pack" in request.path_qs
        if owner is None or not self.world.sees(who.account, owner):
            return web.Response(status=404, text="Not found.")
        name = parts[1].removesuffix(".git").lower()
        found = owner.repositories.get(name)
        if found is None:
            if name in owner.redirects:
                place = f"/{owner.name}/{owner.redirects[name]}.git/{parts[2]}"
                query = f"?{request.query_string}" if request.query_string else ""
                return web.Response(status=307, headers={"Location": self.url + place + query})
            if push:
                return web.Response(status=403, text="Push to create is not enabled")
            return web.Response(status=404, text="Not found.")
        need = "write:repository" if push else "read:repository"
        # Only under Basic authentication does the real one look at scopes.
        if who.basic and who.token is not None and not who.token.allows(need):
            return web.Response(status=403, text="token does not have scope")
        if push and (found.archived or not self.world.owns(who.account, owner)):
            return web.Response(status=403, text="This repo is archived.")
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] != b"\x1f\x8b":
            # aiohttp has unpacked it already; git wants what the header says.
            body = gzip.compress(body)
        answer = await smart_http.serve(
            request, body, found.path, f"/{parts[2]}", who.account.login
        )
        if request.path.endswith("/git-receive-pack"):
            self.pushes += 1
        return answer


def _stage(request: web.Request) -> Stage:
    if request.path.startswith("/api/"):
        return Stage.API
    if request.path.endswith("/git-receive-pack"):
        return Stage.PUSH
    if request.path.endswith("/git-upload-pack"):
        return Stage.FETCH
    return Stage.REFS
