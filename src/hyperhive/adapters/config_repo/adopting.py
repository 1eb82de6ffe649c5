"""Takes over a repository of the older hyperhive: every commit by the road that proposals take.

Of a foreign git directory only objects and refs are looked at, and only in a copy: no
configuration, no hook, no alternates. git reads the copy in a throw-away sandbox without a
network; what it hands over is imported, judged and written anew like a proposal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import re
import shutil
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import (
    applied,
    escapes,
    git_objects,
    policy,
    quarantine,
    refs,
    rules,
    seeding,
)
from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import locks as repository_locks
from hyperhive.domain import errors, ids

LIMITS: Final = policy.Limits(
    seconds=120.0,
    pack_bytes=64 * 1024**2,
    objects=100_000,
    all_bytes=128 * 1024**2,
    commits=20_000,
    message_bytes=64 * 1024,
)
"""More than of a proposal: this is years of one agent, and nobody has to read it now."""
_CONFIG: Final = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
_SHA: Final = re.compile(r"[0-9a-f]{40}")
_REF: Final = re.compile(r"([0-9a-f]{40}) (refs/[!-~]+)")
_MAINS: Final = (rules.MAIN, "refs/heads/master")
_MESSAGES: Final = 16 * 1024**2
_PIECE: Final = 1024**2


@dataclasses.dataclass(frozen=True, slots=True)
class OldRefs:
    """The refs of a foreign repository that mean something here."""

    tags: tuple[ports.Tag, ...]
    main: str
    """The commit of its main branch, or of HEAD; empty when it has no commit."""
    other: tuple[str, ...]
    """Refs that are none of ours."""


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted:
    """What of a foreign repository is ours now."""

    sha: str
    """What is deployed; empty when nothing could be taken over."""
    approval: int
    """Whose tag deployed/… names it."""
    tags: tuple[ports.Tag, ...]
    problems: tuple[str, ...]


class Adoption:
    """Makes applied repositories of one hive out of foreign ones. Each call may be repeated."""

    def __init__(
        self,
        repos: applied.AppliedRepos,
        one_shots: ports.OneShots,
        git: git_program.Git,
        locks: repository_locks.Locks,
    ) -> None:
        """*repos* must import within `LIMITS`."""
        self._repos = repos
        self._one_shots = one_shots
        self._git = git
        self._locks = locks

    async def read(self, copy: pathlib.Path) -> OldRefs:
        """What the copied git directory *copy* says, believed as far as it is only asked for."""
        await asyncio.to_thread(_disarm, copy)
        # Names only: git would not say a word about a repository that lacks what one ref names.
        said = await self._ask(copy, "for-each-ref", "--format=%(objectname) %(refname)")
        named: dict[str, str] = {}
        other: list[str] = []
        for line in said.decode("utf-8", "replace").splitlines():
            match = _REF.fullmatch(line)
            if match and (match[2] in _MAINS or rules.parse_tag(match[2])):
                named[match[2]] = match[1]
            else:
                other.append(escapes.visible(line.partition(" ")[2], 100))
        commits = await self._commits(copy, named.values())
        texts = await self._texts(
            copy, [name for name, sha in commits.items() if sha not in ("", name)]
        )
        made: list[ports.Tag] = []
        for ref, name in named.items():
            parsed = rules.parse_tag(ref)
            if parsed is not None:
                sha = commits[name] or name
                made.append(ports.Tag(*parsed, sha, texts.get(name, "")))
        head = await self._ask(copy, "rev-parse", "--quiet", "--verify", "HEAD^{commit}", ok=(0, 1))
        heads = {ref: commits[name] for ref, name in named.items() if ref in _MAINS}
        main = next((heads[ref] for ref in _MAINS if heads.get(ref)), head.decode().strip())
        return OldRefs(tuple(made), main, tuple(other))

    async def adopt(self, agent: ids.AgentId, copy: pathlib.Path, found: OldRefs) -> Adopted:
        """Bring every commit that a tag or main names, then the tags, then main.

        What policy refuses is a problem in words; the rest comes nevertheless.
        """
        if not found.main and not found.tags:
            return Adopted("", 0, (), ("it has no commit",))
        await self._begin(agent)
        problems: list[str] = []
        missing: set[str] = set()
        # What reaches most first: usually all the rest comes with it.
        numbers = {tag.sha: tag.approval for tag in found.tags}
        numbers.update({t.sha: t.approval for t in found.tags if t.kind is ports.TagKind.PROPOSAL})
        order = sorted(numbers, key=lambda sha: (sha == found.main, numbers[sha]), reverse=True)
        if found.main and found.main not in numbers:
            order.insert(0, found.main)
        for sha in order:
            problem = await self._bring(agent, numbers.get(sha, 0), sha, copy)
            if problem:
                missing.add(sha)
                problems.append(problem)
        tags = [tag for tag in found.tags if tag.sha not in missing]
        sha, approval = _deployed(found, tags, missing)
        if not sha:
            return Adopted("", 0, (), (*problems, "nothing that was deployed could be taken over"))
        if sha != found.main:
            problems.append(
                f"main was at {found.main[:12] or 'no commit'}, and here is at deployed/{approval}"
            )
        elif not any(tag.kind is ports.TagKind.DEPLOYED and tag.sha == sha for tag in tags):
            tags.append(ports.Tag(ports.TagKind.DEPLOYED, approval, sha))
        await self._repos.pin(agent, tags)
        if await self._repos.main(agent) is None:
            # Else it was here before, and may have moved on since.
            await self._repos.advance_main(agent, sha)
        return Adopted(sha, approval, tuple(tags), tuple(problems))

    async def _begin(self, agent: ids.AgentId) -> None:
        """Make an empty repository, unless there is one: whole, by a rename."""
        path = pathlib.Path(self._repos.repository(agent))
        async with self._locks.hold(f"applied-{agent}", path):
            if await asyncio.to_thread(path.is_dir):
                return
            staging = path.with_name(f".new-{path.name}")
            await asyncio.to_thread(seeding.begin, staging, 0o700)
            await self._git.init(staging)
            await asyncio.to_thread(refs.mend, staging)
            await asyncio.to_thread(seeding.appear, staging, path)

    async def _bring(self, agent: ids.AgentId, number: int, sha: str, copy: pathlib.Path) -> str:
        """Import a commit unless it is here; what is wrong with it, or nothing."""
        own = refs.Repository(self._git, pathlib.Path(self._repos.repository(agent)))
        if (await own.peel({sha}))[sha] == sha:
            return ""
        try:
            commit = await self._repos.import_commit(
                agent, ids.ApprovalId(number), sha, self._producer(copy)
            )
        except errors.HiveError as error:
            if error.kind is not errors.ErrorKind.INVALID:
                raise
            return error.message
        if commit.sha != sha:
            return f"cannot import {sha[:12]}: proposal/{number} is another commit"
        return ""

    def _producer(self, copy: pathlib.Path) -> ports.Produce:
        async def produce(sha: str) -> AsyncGenerator[bytes, None]:
            yield f"{sha}\n".encode()
            pack = await self._ask(
                copy,
                "pack-objects", "--revs", "--stdout", "--delta-base-offset", "--threads=1", "-q",
                stdin=f"{sha}\n".encode(), output_limit=LIMITS.pack_bytes + _PIECE,
            )  # fmt: skip
            for begin in range(0, len(pack), _PIECE):
                yield pack[begin : begin + _PIECE]

        return produce

    async def _commits(self, copy: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
        """The commit that each object is or names; empty where there is none."""
        order = sorted(set(names))
        if not order:
            return {}
        said = await self._ask(
            copy, "cat-file", "--batch-check=%(objectname)",
            stdin="".join(f"{name}^{{commit}}\n" for name in order).encode(),
        )  # fmt: skip
        lines = said.decode("ascii", "replace").splitlines()
        if len(lines) != len(order):
            raise errors.invalid("cannot read the older repository: git says too little")
        shas = [line if _SHA.fullmatch(line) else "" for line in lines]
        return dict(zip(order, shas, strict=True))

    async def _texts(self, copy: pathlib.Path, names: list[str]) -> Mapping[str, str]:
        """The messages of tag objects."""
        if not names:
            return {}
        said = await self._ask(
            copy, "cat-file", "--batch",
            stdin="".join(f"{name}\n" for name in names).encode(), output_limit=_MESSAGES,
        )  # fmt: skip
        found: dict[str, str] = {}
        at = 0
        while (end := said.find(b"\n", at)) >= 0:
            name, _, size = said[at:end].decode("ascii", "replace").partition(" tag ")
            if not size.isdigit():
                break
            found[name] = git_objects.read_message(said[end + 1 : end + 1 + int(size)])
            at = end + 2 + int(size)
        return found

    async def _ask(
        self,
        copy: pathlib.Path,
        *args: str,
        stdin: bytes = b"",
        output_limit: int = 4 * 1024**2,
        ok: tuple[int, ...] = (0,),
    ) -> bytes:
        """Run git on the copy, where nothing can be hurt."""
        inside = quarantine.INSIDE
        order = ports.OneShot(
            ("git", "--no-replace-objects", "--no-optional-locks", f"--git-dir={inside}", *args),
            git_program.environment(),
            binds=(ports.Bind(copy, inside),),
        )
        result = await self._one_shots.run(
            order, stdin=stdin, output_limit=output_limit, timeout=LIMITS.seconds
        )
        if result.code not in ok:
            said = escapes.visible(result.stderr.strip(), 300) or f"code {result.code}"
            raise errors.invalid(f"cannot read the older repository: git {args[0]}: {said}")
        return result.stdout


def _deployed(found: OldRefs, tags: list[ports.Tag], missing: set[str]) -> tuple[str, int]:
    """What runs: main where a tag says that it was deployed, or there are no such tags."""
    deployed = [tag for tag in tags if tag.kind is ports.TagKind.DEPLOYED]
    of_main = [tag.approval for tag in deployed if tag.sha == found.main]
    if of_main:
        return found.main, max(of_main)
    if deployed:
        newest = max(deployed, key=lambda tag: tag.approval)
        return newest.sha, newest.approval
    return (found.main, 0) if found.main and found.main not in missing else ("", 0)


def _disarm(copy: pathlib.Path) -> None:
    """Leave nothing in a copied git directory but objects, refs and where HEAD stands."""
    for path in copy.iterdir():
        if path.name in ("objects", "refs", "packed-refs", "HEAD"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name in ("alternates", "http-alternates"):
        (copy / "objects" / "info" / name).unlink(missing_ok=True)
    for name in ("objects", "refs"):
        (copy / name).mkdir(mode=0o755, exist_ok=True)
    config = copy / "config"
    config.write_text(_CONFIG)
    config.chmod(0o644)
