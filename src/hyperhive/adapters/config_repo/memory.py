"""The twins in memory of the applied repositories. Objects and their ids are git's own.

``import_commit`` reads packs without deltas (`git_objects.write_pack`, `git pack-objects
--window=0`) and knows none of the importer's rules but that the commit is there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from hyperhive import ports
from hyperhive.adapters.config_repo import git_objects, rules, tree_files
from hyperhive.domain import errors, ids


@dataclasses.dataclass(slots=True)
class _Repository:
    objects: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)
    commits: dict[str, str] = dataclasses.field(default_factory=dict)
    """Full ref name to the commit that it names."""
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    """Full ref name to what it points at: a tag object where there is a message."""

    def add(self, kind: str, body: bytes) -> str:
        name = git_objects.object_id(kind, body)
        self.objects[name] = (kind, body)
        return name


class MemoryConfigRepos:
    """`ports.ConfigRepos` without git and disk. For tests and stories."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._repositories: dict[ids.AgentId, _Repository] = {}
        self.proposed: dict[ids.AgentName, tuple[str, int]] = {}
        """By agent: the commit that its proposed repository began with, and its owner."""
        self.published: dict[ids.AgentName, dict[str, str]] = {}
        """The refs of the read-only export as of the last `publish`."""

    async def seed(
        self, agent: ids.AgentId, name: ids.AgentName, files: Mapping[str, bytes], owner_uid: int
    ) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        if agent not in self._repositories:
            made = _Repository()
            sha = git_objects.add_commit(
                made.objects, files, (), self._clock.now(), rules.SEED_MESSAGE
            )
            for ref in (rules.TAGS + "deployed/0", rules.MAIN):
                made.refs[ref] = made.commits[ref] = sha
            self._repositories[agent] = made
        main = await self.main(agent)
        self.proposed.setdefault(name, (main or "", owner_uid))
        repository = self._find(agent)
        return self._commit(repository, repository.commits[rules.TAGS + "deployed/0"])

    async def import_commit(
        self, agent: ids.AgentId, approval: ids.ApprovalId, commit_ref: str, produce: ports.Produce
    ) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        repository = self._find(agent)
        ref = f"{rules.TAGS}proposal/{approval}"
        if ref not in repository.commits:
            content = b"".join([part async for part in produce(ids.parse_commit_ref(commit_ref))])
            line, _, pack = content.partition(b"\n")
            sha = ids.parse_sha(line.decode("ascii", "replace"))
            if not sha.startswith(commit_ref):
                raise errors.invalid(f"cannot import {commit_ref}: {sha} was sent instead")
            brought = {git_objects.object_id(*each): each for each in git_objects.read_pack(pack)}
            if brought.get(sha, ("",))[0] != "commit":
                raise errors.invalid(f"cannot import {commit_ref}: the commit is not in the pack")
            repository.objects |= brought
            repository.commits.setdefault(ref, sha)
            repository.refs.setdefault(ref, sha)
        return self._commit(repository, repository.commits[ref])

    async def restore(
        self, agent: ids.AgentId, approval: ids.ApprovalId, sha: str, message: str
    ) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        ref = f"{rules.TAGS}proposal/{approval}"
        if ref not in repository.commits:
            old = self._commit(repository, sha)
            main = rules.require_main(repository.commits)
            body = git_objects.commit_body(old.tree, [main], self._clock.now(), message)
            repository.commits[ref] = repository.refs[ref] = repository.add("commit", body)
        return self._commit(repository, repository.commits[ref])

    async def descends(self, agent: ids.AgentId, sha: str, ancestor: str) -> bool:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        self._commit(repository, sha)
        return _descends(repository, sha, ids.parse_sha(ancestor))

    async def pin(self, agent: ids.AgentId, tags: Sequence[ports.Tag]) -> None:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        self._create(repository, rules.missing(tags, repository.commits))

    async def advance_main(self, agent: ids.AgentId, sha: str) -> None:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        rules.check_deployed(sha, repository.commits)
        here = repository.commits.get(rules.MAIN)
        rules.check_forward(here, sha, forward=_descends(repository, sha, here))
        repository.commits[rules.MAIN] = repository.refs[rules.MAIN] = sha

    async def tags(self, agent: ids.AgentId) -> list[ports.Tag]:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        found: list[ports.Tag] = []
        for ref, sha in sorted(repository.commits.items()):
            parsed = rules.parse_tag(ref)
            if parsed is not None:
                kind, body = repository.objects[repository.refs[ref]]
                message = git_objects.read_message(body) if kind == "tag" else ""
                found.append(ports.Tag(*parsed, sha, message))
        return found

    async def main(self, agent: ids.AgentId) -> str | None:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        return self._find(agent).commits.get(rules.MAIN)

    async def refs(self, agent: ids.AgentId) -> dict[str, str]:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        return dict(sorted(self._find(agent).refs.items()))

    def repository(self, agent: ids.AgentId) -> str:
        """See `ports.ConfigRepos`; nothing is there."""
        return f"/nonexistent/applied/{agent}.git"

    async def show(self, agent: ids.AgentId, sha: str) -> ports.Commit:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        return self._commit(self._find(agent), sha)

    async def history(self, agent: ids.AgentId, *, limit: int = 200) -> list[ports.Commit]:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        newest = rules.newest_first(repository.commits)[:limit]
        return [self._commit(repository, sha) for sha, _ in newest]

    async def files(self, agent: ids.AgentId, sha: str) -> list[ports.TreeFile]:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        return sorted(
            _files(repository, self._commit(repository, sha).tree, ""), key=lambda file: file.path
        )

    async def changes(
        self, agent: ids.AgentId, before: str | None, after: str
    ) -> list[ports.Change]:
        """See `ports.ConfigRepos`."""
        old = [] if before is None else await self.files(agent, before)
        return rules.compare(old, await self.files(agent, after))

    async def read_blob(self, agent: ids.AgentId, blob: str, *, limit: int) -> bytes:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        kind, body = self._find(agent).objects.get(ids.parse_sha(blob), ("", b""))
        if kind != "blob":
            raise errors.not_found(f"cannot read {blob[:12]}: no such file content")
        rules.check_size(blob, len(body), limit)
        return body

    async def read_blobs(
        self, agent: ids.AgentId, blobs: Sequence[str], *, limit: int
    ) -> dict[str, bytes]:
        """See `ports.ConfigRepos`."""
        found: dict[str, bytes] = {}
        for blob in dict.fromkeys(blobs):
            found[blob] = await self.read_blob(agent, blob, limit=limit)
            limit -= len(found[blob])
        return found

    async def export(self, agent: ids.AgentId, sha: str, target: str) -> None:
        """See `ports.ConfigRepos`; the files are written for real."""
        repository = self._find(agent)
        place = pathlib.Path(target)
        tree_files.make_empty(place)
        for file in await self.files(agent, sha):
            tree_files.write(place, file.path, file.mode, repository.objects[file.blob][1])
        tree_files.check(place, self._commit(repository, sha).tree)

    async def reconcile(
        self, agent: ids.AgentId, wanted: Sequence[ports.Tag], main: str | None
    ) -> list[str]:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        repository = self._find(agent)
        rules.check_wanted(wanted)
        here = repository.commits.get(rules.MAIN)
        lost = {
            sha
            for sha in (*(tag.sha for tag in wanted), *([main] if main else []))
            if repository.objects.get(sha, ("",))[0] != "commit"
        }
        forward = main is None or _descends(repository, main, here)
        create, move, said = rules.differences(
            wanted, main, repository.commits, lost=lost, forward=forward
        )
        self._create(repository, create)
        if move is not None:
            repository.commits[rules.MAIN] = repository.refs[rules.MAIN] = move
        return said

    async def publish(self, agents: Sequence[tuple[ids.AgentId, ids.AgentName]]) -> None:
        """See `ports.ConfigRepos`."""
        await asyncio.sleep(0)
        self.published = {
            name: dict(self._repositories[agent].refs)
            for agent, name in agents
            if agent in self._repositories
        }

    def tamper(self, agent: ids.AgentId, ref: str, sha: str | None) -> None:
        """Set a full ref behind everybody's back, or remove it: for tests of `reconcile`."""
        repository = self._find(agent)
        for table in (repository.refs, repository.commits):
            if sha is None:
                table.pop(ref, None)
            else:
                table[ref] = sha

    def _find(self, agent: ids.AgentId) -> _Repository:
        try:
            return self._repositories[agent]
        except KeyError:
            raise errors.not_found(
                f"cannot use the configuration of {agent}: it has no repository"
            ) from None

    def _commit(self, repository: _Repository, sha: str) -> ports.Commit:
        kind, body = repository.objects.get(ids.parse_sha(sha), ("", b""))
        if kind != "commit":
            raise errors.not_found(f"cannot show {sha[:12]}: no such commit")
        tags = dict(rules.newest_first(repository.commits)).get(sha, ())
        return rules.commit(sha, git_objects.read_commit(body), tags)

    def _create(self, repository: _Repository, tags: Sequence[ports.Tag]) -> None:
        for tag in tags:
            self._commit(repository, tag.sha)
            message = rules.tag_message(tag)
            ref = rules.TAGS + tag.name
            repository.commits[ref] = repository.refs[ref] = tag.sha
            if message:
                body = git_objects.tag_body(tag.name, tag.sha, self._clock.now(), message)
                repository.refs[ref] = repository.add("tag", body)


def _descends(repository: _Repository, sha: str, ancestor: str | None) -> bool:
    """Whether *ancestor* is among what *sha* reaches; None, which is nothing yet, always is."""
    if ancestor is None:
        return True
    seen: set[str] = set()
    waiting = [sha]
    while waiting:
        name = waiting.pop()
        kind, body = repository.objects.get(name, ("", b""))
        if kind != "commit" or name in seen:
            continue
        if name == ancestor:
            return True
        seen.add(name)
        waiting += git_objects.read_commit(body).parents
    return False


def _files(repository: _Repository, tree: str, base: str) -> list[ports.TreeFile]:
    found: list[ports.TreeFile] = []
    for mode, name, target in git_objects.read_tree(repository.objects[tree][1]):
        if mode == "40000":
            found += _files(repository, target, f"{base}{name}/")
        else:
            size = len(repository.objects[target][1]) if target in repository.objects else 0
            found.append(ports.TreeFile(base + name, mode, target, size))
    return found
