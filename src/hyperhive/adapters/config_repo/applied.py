"""The applied repositories: one bare git directory per agent, which only the daemon touches.

The store decides and these follow. Every write holds the repository's lock; tags are created
and never moved; main comes last. What a crash leaves in between, `reconcile` carries on.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import export, git_objects, refs, rules, seeding, tree_files
from hyperhive.adapters.config_repo import git as git_program
from hyperhive.adapters.config_repo import importer as importing
from hyperhive.adapters.config_repo import locks as repository_locks
from hyperhive.domain import errors, ids

EXPORT_BYTES: Final = 256 * 1024**2
"""More than the importer lets in."""
_GROUP_BYTES: Final = 8 * 1024**2
"""So much content of an export is in memory at once, besides one larger file."""


class AppliedRepos:
    """`ports.ConfigRepos` on this host, below *home*."""

    def __init__(
        self,
        home: pathlib.Path,
        *,
        git: git_program.Git,
        locks: repository_locks.Locks,
        importer: importing.Importer,
        clock: ports.Clock,
    ) -> None:
        self._home = home
        self._git = git
        self._locks = locks
        self._importer = importer
        self._clock = clock
        self._seeds = seeding.Seeds(home, git, locks, clock)
        self._export = export.Export(home, git, locks)

    # --- what changes refs --------------------------------------------------------------

    async def seed(
        self, agent: ids.AgentId, name: ids.AgentName, files: Mapping[str, bytes], owner_uid: int
    ) -> ports.Commit:
        """See `ports.ConfigRepos`. Each of the two appears whole, by one rename."""
        path = pathlib.Path(self.repository(agent))
        async with self._locks.hold(_lock_name(agent), path) as lock:
            if not await asyncio.to_thread(path.is_dir):
                await self._seeds.make_applied(path, files, lock)
        self._export.mark(agent)
        found = await self._find(agent).read()
        sha = found.commits.get(rules.TAGS + "deployed/0")
        if not sha:
            raise errors.unavailable(
                f"cannot use the configuration of {name}: its tag deployed/0 is gone; restart "
                "the hive, which makes missing tags again"
            )
        await self._seeds.make_proposed(path, name, found.commits.get(rules.MAIN) or sha, owner_uid)
        return await self.show(agent, sha)

    async def import_commit(
        self, agent: ids.AgentId, approval: ids.ApprovalId, commit_ref: str, produce: ports.Produce
    ) -> ports.Commit:
        """See `ports.ConfigRepos`; `importer` has the road."""
        repository = self._find(agent)
        try:
            commit = await self._importer.bring(
                repository.path,
                approval,
                commit_ref,
                produce,
                lambda: self._locks.hold(_lock_name(agent), repository.path),
            )
        finally:
            self._export.mark(agent)
        return await self.show(agent, commit.sha)

    async def pin(self, agent: ids.AgentId, tags: Sequence[ports.Tag]) -> None:
        """See `ports.ConfigRepos`."""
        async with self._writing(agent) as (repository, lock):
            wanted = rules.missing(tags, (await repository.read()).commits)
            await repository.check_commits(tag.sha for tag in wanted)
            made, orders = refs.tag_objects(wanted, self._clock)
            await repository.add(made, lock)
            await repository.update(orders, lock)

    async def restore(
        self, agent: ids.AgentId, approval: ids.ApprovalId, sha: str, message: str
    ) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        ref = f"{rules.TAGS}proposal/{approval:d}"
        async with self._writing(agent) as (repository, lock):
            found = await repository.read()
            made = found.commits.get(ref)
            if not made:
                (old,) = await repository.commits([ids.parse_sha(sha)])
                main = rules.require_main(found.commits)
                body = git_objects.commit_body(old.tree, [main], self._clock.now(), message)
                made = git_objects.object_id("commit", body)
                await repository.add([("commit", body)], lock)
                await repository.update([refs.create(ref, made)], lock)
        return await self.show(agent, made)

    async def advance_main(self, agent: ids.AgentId, sha: str) -> None:
        """See `ports.ConfigRepos`; CONFLICT also when no tag deployed/… names the commit."""
        async with self._writing(agent) as (repository, lock):
            found = await repository.read()
            rules.check_deployed(sha, found.commits)
            here = found.commits.get(rules.MAIN)
            if here == sha:
                return
            rules.check_forward(here, sha, forward=await repository.descends(sha, here))
            await repository.update([refs.move(rules.MAIN, sha, found.refs.get(rules.MAIN))], lock)

    async def reconcile(
        self, agent: ids.AgentId, wanted: Sequence[ports.Tag], main: str | None
    ) -> list[str]:
        """See `ports.ConfigRepos`. A wanted commit that is not there is a difference, too."""
        async with self._writing(agent) as (repository, lock):
            await asyncio.to_thread(refs.mend, repository.path)
            found = await repository.read()
            rules.check_wanted(wanted)
            there = await repository.peel({tag.sha for tag in wanted} | ({main} if main else set()))
            lost = sorted(sha for sha, commit in there.items() if commit != sha)
            forward = main is None or await repository.descends(main, found.commits.get(rules.MAIN))
            create, move, said = rules.differences(
                wanted, main, found.commits, lost=lost, forward=forward
            )
            made, orders = refs.tag_objects(create, self._clock)
            if move is not None:
                orders.append(refs.move(rules.MAIN, move, found.refs.get(rules.MAIN)))
            await repository.add(made, lock)
            await repository.update(orders, lock)
        return said

    async def publish(self, agents: Sequence[tuple[ids.AgentId, ids.AgentName]]) -> None:
        """See `ports.ConfigRepos`."""
        there = [(agent, name) for agent, name in agents if self._is_there(agent)]
        await self._export.publish(
            [(agent, name, pathlib.Path(self.repository(agent))) for agent, name in there]
        )

    # --- what only reads ----------------------------------------------------------------

    def repository(self, agent: ids.AgentId) -> str:
        """See `ports.ConfigRepos`."""
        return str(self._home / "applied" / f"{ids.parse_agent_id(agent)}.git")

    async def tags(self, agent: ids.AgentId) -> list[ports.Tag]:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        found = await repository.read()
        ours = {ref: parsed for ref in found.refs if (parsed := rules.parse_tag(ref))}
        annotated = {found.refs[ref] for ref in ours if found.refs[ref] != found.commits[ref]}
        texts = await repository.objects(sorted(annotated))
        tags: list[ports.Tag] = []
        for ref, (kind, approval) in sorted(ours.items()):
            what, body = texts.get(found.refs[ref], ("", b""))
            message = git_objects.read_message(body) if what == "tag" else ""
            tags.append(ports.Tag(kind, approval, found.commits[ref], message))
        return tags

    async def descends(self, agent: ids.AgentId, sha: str, ancestor: str) -> bool:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        await repository.check_commits([sha])
        return await repository.descends(sha, ids.parse_sha(ancestor))

    async def main(self, agent: ids.AgentId) -> str | None:
        """See `ports.ConfigRepos`."""
        return (await self._find(agent).refs()).get(rules.MAIN)

    async def refs(self, agent: ids.AgentId) -> dict[str, str]:
        """See `ports.ConfigRepos`."""
        return dict(sorted((await self._find(agent).refs()).items()))

    async def show(self, agent: ids.AgentId, sha: str) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        (fields,) = await repository.commits([ids.parse_sha(sha)])
        tags = dict(rules.newest_first((await repository.read()).commits)).get(sha, ())
        return rules.commit(sha, fields, tags)

    async def history(self, agent: ids.AgentId, *, limit: int = 200) -> list[ports.Commit]:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        newest = rules.newest_first((await repository.read()).commits)[:limit]
        fields = await repository.commits([sha for sha, _ in newest])
        return [
            rules.commit(sha, each, tags) for (sha, tags), each in zip(newest, fields, strict=True)
        ]

    async def files(self, agent: ids.AgentId, sha: str) -> list[ports.TreeFile]:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        await repository.check_commits([sha])
        return await repository.files(sha)

    async def changes(
        self, agent: ids.AgentId, before: str | None, after: str
    ) -> list[ports.Change]:
        """See `ports.ConfigRepos`."""
        old = [] if before is None else await self.files(agent, before)
        return rules.compare(old, await self.files(agent, after))

    async def read_blob(self, agent: ids.AgentId, blob: str, *, limit: int) -> bytes:
        """See `ports.ConfigRepos`."""
        return (await self.read_blobs(agent, [blob], limit=limit))[blob]

    async def read_blobs(
        self, agent: ids.AgentId, blobs: Sequence[str], *, limit: int
    ) -> dict[str, bytes]:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        names = list(dict.fromkeys(blobs))
        sizes = await repository.sizes(names) if names else {}
        left = limit
        for name in names:
            kind, size = sizes.get(name, ("", 0))
            if kind != "blob":
                raise errors.not_found(f"cannot read {name[:12]}: no such file content")
            rules.check_size(name, size, left)
            left -= size
        found = await repository.objects(names, limit=limit)
        return {name: content for name, (_, content) in found.items()}

    async def export(self, agent: ids.AgentId, sha: str, target: str) -> None:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        (fields,) = await repository.commits([ids.parse_sha(sha)])
        files = await repository.files(sha)
        total = sum(file.size for file in files)
        if total > EXPORT_BYTES:
            raise errors.invalid(f"cannot export {sha[:12]}: its files have {total} bytes")
        place = pathlib.Path(target)
        await asyncio.to_thread(tree_files.make_empty, place)
        for group in _groups(files):
            contents = await repository.objects(
                sorted({file.blob for file in group}), limit=sum(file.size for file in group)
            )
            await asyncio.to_thread(_write, place, group, contents)
        await asyncio.to_thread(tree_files.check, place, fields.tree)

    # --- parts --------------------------------------------------------------------------

    def _is_there(self, agent: ids.AgentId) -> bool:
        return pathlib.Path(self.repository(agent)).is_dir()

    def _find(self, agent: ids.AgentId) -> refs.Repository:
        if not self._is_there(agent):
            raise errors.not_found(f"cannot use the configuration of {agent}: it has no repository")
        return refs.Repository(self._git, pathlib.Path(self.repository(agent)))

    @contextlib.asynccontextmanager
    async def _writing(self, agent: ids.AgentId) -> AsyncIterator[tuple[refs.Repository, int]]:
        repository = self._find(agent)
        async with self._locks.hold(_lock_name(agent), repository.path) as lock:
            try:
                yield repository, lock
            finally:
                self._export.mark(agent)


def _lock_name(agent: ids.AgentId) -> str:
    return f"applied-{agent}"


def _groups(files: Sequence[ports.TreeFile]) -> list[list[ports.TreeFile]]:
    """Split *files* so that each group is bearable in memory."""
    groups: list[list[ports.TreeFile]] = []
    room = 0
    for file in files:
        if not groups or room < file.size:
            groups.append([])
            room = _GROUP_BYTES
        groups[-1].append(file)
        room -= file.size
    return groups


def _write(
    place: pathlib.Path,
    files: Sequence[ports.TreeFile],
    contents: Mapping[str, tuple[str, bytes]],
) -> None:
    for file in files:
        kind, content = contents.get(file.blob, ("", b""))
        if kind != "blob" or git_objects.object_id("blob", content) != file.blob:
            raise errors.unavailable(
                f"cannot export {file.path!r}: its content is not in the repository"
            )
        tree_files.write(place, file.path, file.mode, content)
