"""The test forge answers as a real server did: `forge_answers.json` was recorded from one.

Compared are status, the words of the body that were recorded with the type of their values,
booleans and choices by value, some headers, and for git how a command ended. Wording is not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from rigs.forge import Forge
from rigs.forge.state import ENVIRONMENT, git

RECORDED: dict[str, dict[str, Any]] = json.loads(
    pathlib.Path(__file__).with_name("forge_answers.json").read_text()
)
ORG = "agent-configs-x"
ORGS = f"/orgs/{ORG}"
A1 = f"/repos/{ORG}/a1"
BARE = {
    f"has_{unit}": False
    for unit in ("issues", "wiki", "pull_requests", "projects", "releases", "packages", "actions")
}


class _Replay:
    """Asks the forge what the real one was asked, and notes what differs."""

    def __init__(self, forge: Forge, session: aiohttp.ClientSession, work: pathlib.Path) -> None:
        self.forge = forge
        self.session = session
        self.work = work
        self.left = set(RECORDED)
        world = forge.world
        self.core = world.add_account("core", admin=True)
        other = world.add_account("other")
        self.tokens = {
            "full": world.add_token(
                "core", "write:organization", "write:repository", "read:user", name="full"
            ),
            "org_only": world.add_token("core", "write:organization"),
            "repo_only": world.add_token("core", "write:repository"),
            "ro": world.add_token("core", "read:organization", "read:repository"),
            "all": world.add_token("core", "all"),
            "other": world.add_token(
                "other", "write:organization", "write:repository", "read:user"
            ),
        }
        self.passwords = {"core": self.core.password, "other": other.password}

    def token(self, name: str) -> dict[str, str]:
        return {"Authorization": f"token {self.tokens[name]}"}

    def basic(self, user: str, password: str) -> dict[str, str]:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    async def api(
        self, case: str, method: str, path: str, body: Any = None, *,
        by: str = "full", headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Ask once; compare with the recorded case."""
        recorded = RECORDED[case]
        self.left.discard(case)
        sent = headers if headers is not None else ({} if by == "anon" else self.token(by))
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(
            method, f"{self.forge.url}/api/v1{path}", data=data, headers=sent,
            allow_redirects=False,
        ) as response:  # fmt: skip
            assert response.status == recorded["status"], (case, await response.text())
            text = await response.text()
            self._headers(case, recorded, response.headers)
        if "keys" in recorded:
            assert sorted(json.loads(text)) == recorded["keys"], case
        wanted = recorded.get("body")
        if isinstance(wanted, dict) and "_text" in wanted:
            assert text.split()[:1] == wanted["_text"].split()[:1], case
        elif wanted is not None:
            self._shape(case, wanted, json.loads(text))

    def _headers(self, case: str, recorded: dict[str, Any], headers: Any) -> None:
        for key, value in recorded.items():
            if key.startswith("h:"):
                value = value.replace("<B>", self.forge.url).replace("agent-configs-<S>", ORG)
                assert headers[key[2:]] == value, case

    def _shape(self, case: str, wanted: Any, found: Any) -> None:
        assert type(wanted) is type(found), (case, wanted, found)
        if isinstance(wanted, dict):
            for key, value in wanted.items():
                assert key in found, (case, key)
                self._shape(f"{case}.{key}", value, found[key])
        elif isinstance(wanted, list):
            assert case.endswith("errors") or len(wanted) == len(found), (case, found)
            for one, another in zip(wanted, found, strict=False):
                self._shape(case, one, another)
        elif isinstance(wanted, bool) or case.endswith(("visibility", "default_branch")):
            assert wanted == found, case

    async def git(
        self, case: str, *argv: str, at: str = "a1.git", org: str = ORG, user: str = "core",
        password: str | None = None, header: str = "",
    ) -> None:  # fmt: skip
        """Run git against the forge, and compare how it ends."""
        recorded = RECORDED[case]
        self.left.discard(case)
        base = self.forge.url
        if password is not None:
            pair = f"{user}:{password}@" if password else f"{user}@"
            base = base.replace("//", f"//{pair}")
        settings = ["-c", f"http.extraHeader=Authorization: {header}"] if header else []
        process = await asyncio.create_subprocess_exec(
            "git", *settings, argv[0], f"{base}/{org}/{at}", *argv[1:],
            cwd=self.work, env={**ENVIRONMENT, "GIT_TERMINAL_PROMPT": "0"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said = (await process.communicate())[0].decode()
        assert process.returncode == recorded["rc"], (case, said)
        assert _kind(process.returncode, said) == recorded["kind"], (case, said)


def _kind(code: int | None, said: str) -> str:
    if code == 0:
        return "ok"
    if "error: 403" in said:
        return "http403"
    if "not found" in said:
        return "notfound"
    if "rejected]" in said:
        return "rejected"
    assert "Authentication failed" in said or "could not read Username" in said, said
    return "auth"


async def _started(root: pathlib.Path) -> AsyncIterator[_Replay]:
    work = root / "work"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch=main")
    for number in range(3):
        git(work, "commit", "--quiet", "--allow-empty", "-m", str(number))
    async with Forge.running(root / "forge") as forge, aiohttp.ClientSession() as session:
        yield _Replay(forge, session, work)


def test_it_answers_as_the_real_one_did(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async for replay in _started(tmp_path):
            await _about(replay)
            await _organisation(replay)
            await _repository(replay)
            await _git(replay)
            await _end(replay)
            # Nothing recorded goes without a comparison.
            assert replay.left == set()

    asyncio.run(story())


async def _about(ask: _Replay) -> None:
    full, password = ask.tokens["full"], ask.passwords["core"]
    await ask.api("version.anon", "GET", "/version", by="anon")
    await ask.api("version.badtoken", "GET", "/version", headers={"Authorization": "token 0"})
    await ask.api("settings.api", "GET", "/settings/api")
    await ask.api("unknown.route", "GET", "/no/such/route")
    await ask.api("user.full", "GET", "/user")
    await ask.api("user.anon", "GET", "/user", by="anon")
    await ask.api("user.badpass", "GET", "/user", headers=ask.basic("core", "wrong"))
    await ask.api("user.basic_token", "GET", "/user", headers=ask.basic("core", full))
    await ask.api("user.basic_token_anyuser", "GET", "/user", headers=ask.basic("any", full))
    await ask.api("user.basic_token_asuser", "GET", "/user", headers=ask.basic(full, ""))
    await ask.api("user.bearer", "GET", "/user", headers={"Authorization": f"Bearer {full}"})
    await ask.api("user.query_token", "GET", f"/user?token={full}", by="anon")
    await ask.api("user.repo_only", "GET", "/user", by="repo_only")
    tokens, new = "/users/core/tokens", {"name": "new", "scopes": ["write:repository"]}
    mine = ask.basic("core", password)
    await ask.api("token.create.bytoken", "POST", tokens, new)
    await ask.api("token.create.bytoken_all", "POST", tokens, new, by="all")
    await ask.api("token.create.other", "POST", tokens, new,
                  headers=ask.basic("other", ask.passwords["other"]))  # fmt: skip
    wrong = {"name": "bad", "scopes": ["write:bogus"]}
    await ask.api("token.create.badscope", "POST", tokens, wrong, headers=mine)
    await ask.api("token.create.noscope", "POST", tokens, {"name": "none"}, headers=mine)
    await ask.api("token.create.dup", "POST", tokens, {"name": "none"}, headers=mine)


async def _organisation(ask: _Replay) -> None:
    new = {"username": ORG, "visibility": "private", "full_name": "x", "description": "d"}
    await ask.api("org.get.absent", "GET", ORGS)
    await ask.api("org.create.anon", "POST", "/orgs", new, by="anon")
    await ask.api("org.create.repo_only", "POST", "/orgs", new, by="repo_only")
    await ask.api("org.create.badjson", "POST", "/orgs", b"\0")
    await ask.api("org.create.noname", "POST", "/orgs", {})
    await ask.api("org.create.badname", "POST", "/orgs", {**new, "username": "no name"})
    await ask.api("org.create.reserved", "POST", "/orgs", {**new, "username": "api"})
    await ask.api("org.create.badvis", "POST", "/orgs", {**new, "visibility": "hidden"})
    await ask.api("org.create", "POST", "/orgs", new)
    await ask.api("org.create.dup", "POST", "/orgs", new)
    await ask.api("org.create.dup_case", "POST", "/orgs", {**new, "username": ORG.upper()})
    # Its keys were recorded by asking for it.
    await ask.api("org.create.keys", "GET", ORGS)
    await ask.api("org.get.owner", "GET", ORGS)
    await ask.api("org.get.case", "GET", ORGS.replace("agent", "AGENT"))
    await ask.api("org.get.other", "GET", ORGS, by="other")
    await ask.api("org.get.anon", "GET", ORGS, by="anon")
    await ask.api("org.get.repo_only", "GET", ORGS, by="repo_only")
    await ask.api("org.members", "GET", ORGS + "/members")
    await ask.api("org.patch.vis", "PATCH", ORGS, {"visibility": "private"})
    await ask.api("org.patch.other", "PATCH", ORGS, {"visibility": "public"}, by="other")


async def _repository(ask: _Replay) -> None:
    repos = ORGS + "/repos"
    new = {"name": "a1", "private": True, "auto_init": False, "default_branch": "main"}
    await ask.api("repo.get.absent", "GET", A1)
    await ask.api("repo.create.anon", "POST", repos, new, by="anon")
    await ask.api("repo.create.repo_only", "POST", repos, new, by="repo_only")
    await ask.api("repo.create.ro", "POST", repos, new, by="ro")
    await ask.api("repo.create.other", "POST", repos, new, by="other")
    await ask.api("repo.create.absent_org", "POST", "/orgs/none/repos", new)
    await ask.api("repo.create.noname", "POST", repos, {})
    await ask.api("repo.create.badname", "POST", repos, {**new, "name": "no name"})
    await ask.api("repo.create.reserved", "POST", repos, {**new, "name": "a.wiki"})
    await ask.api("repo.create", "POST", repos, new)
    await ask.api("repo.create.dup", "POST", repos, new)
    await ask.api("repo.create.dup_case", "POST", repos, {**new, "name": "A1"})
    await ask.api("repo.get", "GET", A1)
    await ask.api("repo.get.ro", "GET", A1, by="ro")
    await ask.api("repo.get.other", "GET", A1, by="other")
    await ask.api("repo.get.anon", "GET", A1, by="anon")
    await ask.api("repo.get.org_only", "GET", A1, by="org_only")
    await ask.api("repo.patch", "PATCH", A1, {"private": True, **BARE})
    await ask.api("repo.patch.ro", "PATCH", A1, {"private": False}, by="ro")
    await ask.api("repo.patch.other", "PATCH", A1, {"private": False}, by="other")
    owner = ask.forge.world.organisation(ORG)
    assert owner is not None
    for name in ("p0", "p1", "p2"):
        ask.forge.world.add_repository(owner, name, private=True)
    await ask.api("repos.page1", "GET", repos + "?limit=2&page=1")
    await ask.api("repos.page3", "GET", repos + "?limit=2&page=3")


async def _git(ask: _Replay) -> None:
    full = ask.tokens["full"]
    main = "HEAD:refs/heads/main"
    older = "HEAD~1:refs/heads/main"
    await ask.git("git.ls.anon", "ls-remote")
    await ask.git("git.ls.badtoken", "ls-remote", password="0" * 40)
    await ask.git("git.ls.other", "ls-remote", password=ask.tokens["other"])
    await ask.git("git.push.url", "push", "HEAD~2:refs/heads/main", password=full)
    await ask.git("git.push.ff", "push", older, password=full)
    await ask.git("git.push.url_nodotgit", "push", main, at="a1", password=full)
    await ask.git("git.push.again", "push", main, password=full)
    await ask.git("git.push.url_case", "push", main, at="A1.git", password=full)
    await ask.git("git.push.url_tokenonly", "push", main, user=full, password="")
    await ask.git("git.push.hdr_token", "push", main, header=f"token {full}")
    await ask.git("git.push.hdr_bearer", "push", main, header=f"Bearer {full}")
    await ask.git("git.push.nonff_noforce", "push", older, password=full)
    await ask.git("git.push.force", "push", f"+{older}", password=full)
    await ask.git("git.push.del_default", "push", ":refs/heads/main", password=full)
    await ask.git("git.push.ro_token", "push", main, password=ask.tokens["ro"])
    await ask.git("git.push.org_only_token", "push", main, password=ask.tokens["org_only"])
    await ask.git("git.push.ro_token_hdr", "push", main, header=f"token {ask.tokens['ro']}")
    await ask.git("git.push.other", "push", main, password=ask.tokens["other"])
    await ask.git("git.push.absent_repo", "push", main, at="none.git", password=full)
    await ask.git("git.push.absent_org", "push", main, org="none", password=full)
    await ask.api("repo.after", "GET", A1)
    protections = A1 + "/branch_protections"
    rule = {"rule_name": "main", "enable_push": False}
    await ask.api("protect.create", "POST", protections, rule)
    await ask.api("protect.dup", "POST", protections, rule)
    await ask.git("git.push.protected", "push", f"+{older}", password=full)
    await ask.api("protect.del", "DELETE", protections + "/main")
    await ask.api("repo.archive", "PATCH", A1, {"archived": True})
    await ask.git("git.push.archived", "push", main, password=full)
    await ask.api("repo.unarchive", "PATCH", A1, {"archived": False})


async def _end(ask: _Replay) -> None:
    await ask.api("repo.rename", "PATCH", A1, {"name": "a1b"})
    await ask.api("repo.get.renamed", "GET", A1)
    await ask.git("git.push.renamed", "push", "HEAD:refs/heads/main", password=ask.tokens["full"])
    await ask.api("repo.rename.back", "PATCH", A1 + "b", {"name": "a1"})
    await ask.api("repo.create.redirectname", "POST", ORGS + "/repos", {"name": "a1b"})
    await ask.api("repo.delete.other", "DELETE", A1, by="other")
    await ask.api("repo.delete", "DELETE", A1)
