"""Looking into configuration repositories: what is there, what it was, what differs.

Reads only, and only from the repositories of the daemon. Whoever looks names an agent and a
tag or a commit; both are checked here, so that no text from outside reaches git as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import agents, deployments, errors, ids
from hyperhive.services import card, file_changes, lookup, visible
from hyperhive.wire import views

HISTORY_MAX: Final = 200
APPROVALS_MAX: Final = 1000

MirrorStatus = Callable[[], dict[str, Any]]
"""What the page shows of the forge; ``{"configured": false}`` without one."""


class Repositories:
    """Reads for the page about configurations."""

    def __init__(
        self,
        store: ports.Store,
        repos: ports.ConfigRepos,
        meta: ports.Meta,
        mirror_status: MirrorStatus,
    ) -> None:
        self._store = store
        self._repos = repos
        self._meta = meta
        self._mirror_status = mirror_status
        self._cards = card.Cards(store, repos)

    async def list(self) -> dict[str, Any]:
        """Return every repository with what is deployed, and how the mirror stands."""

        def look(tx: ports.ReadTx) -> Sequence[tuple[agents.Agent, deployments.Deployment | None]]:
            return [(agent, tx.get_deployment(agent.id)) for agent in tx.list_agents()]

        mirror = self._mirror_status()
        mirrored = {each["name"]: each for each in mirror.get("repositories", ())}
        rows = [
            {
                "agent": agent.name,
                "deployment": deployment and views.deployment_view(deployment),
                "mirror": mirrored.get(agent.name),
            }
            for agent, deployment in await self._store.read(look)
        ]
        return {
            "repositories": [row for row in rows if row["deployment"] is not None],
            "meta": {"mirror": mirrored.get("meta")},
            "mirror": {key: value for key, value in mirror.items() if key != "repositories"},
        }

    async def history(self, name: str) -> dict[str, Any]:
        """Return an agent's tagged commits and all decisions about it, newest first (S38)."""

        def look(tx: ports.ReadTx) -> tuple[ids.AgentId, dict[str, Any]]:
            agent = lookup.require_named(tx, name)
            proposed = {
                p.approval: p for p in tx.list_proposals(agent=agent.id, limit=APPROVALS_MAX)
            }
            decisions = [
                views.approval_view(row, proposed.get(row.id))
                for row in tx.list_approvals(limit=APPROVALS_MAX)
                if row.id in proposed or row.agent_id == agent.id
            ]
            deployment = tx.get_deployment(agent.id)
            return agent.id, {
                "agent": agent.name,
                "deployment": deployment and views.deployment_view(deployment),
                "decisions": decisions,
            }

        agent, found = await self._store.read(look)
        if found["deployment"] is None:
            return found | {"commits": []}
        commits = await self._repos.history(agent, limit=HISTORY_MAX)
        return found | {"commits": [card.commit_view(commit) for commit in commits]}

    async def files(self, name: str, revision: str = "") -> dict[str, Any]:
        """Return the files of one commit; of what is deployed when no *revision* is named."""
        agent, sha = await self._resolve(name, revision)
        commit = await self._repos.show(agent, sha)
        return {
            "agent": name,
            "commit": card.commit_view(commit),
            "files": [
                {
                    "path": visible.show_text(file.path),
                    "mode": file.mode,
                    "size": file.size,
                    "blob": file.blob,
                }
                for file in await self._repos.files(agent, sha)
            ],
        }

    async def file(self, name: str, path: str, revision: str = "") -> dict[str, Any]:
        """Return one file with every byte visible, or why it is not shown."""
        agent, sha = await self._resolve(name, revision)
        for file in await self._repos.files(agent, sha):
            if visible.show_text(file.path) == path:
                side = await self._cards.fetch(agent, file)
                return {"agent": name, "sha": sha, **file_changes.show_content(side)}
        raise errors.not_found(f"cannot show {path[:200]!r}: {sha[:12]} of {name} has no such file")

    async def compare(self, name: str, before: str, after: str) -> dict[str, Any]:
        """Return what changes from one tag or commit of an agent to another."""
        agent, old = await self._resolve(name, before)
        _, new = await self._resolve(name, after)
        return {
            "agent": name,
            "before": old,
            "after": new,
            "files": await self._cards.compare(agent, old, new),
        }

    async def meta_log(self) -> dict[str, Any]:
        """Return meta's log: the seed and one commit for each successful deploy."""
        commits = await self._meta.log(limit=HISTORY_MAX)
        return {"commits": [card.commit_view(commit) for commit in commits]}

    async def _resolve(self, name: str, revision: str) -> tuple[ids.AgentId, str]:
        """The commit that a tag, a full or a short id of a tagged commit, or nothing means."""

        def look(tx: ports.ReadTx) -> tuple[ids.AgentId, str]:
            agent = lookup.require_named(tx, name)
            deployment = tx.get_deployment(agent.id)
            return agent.id, deployment.sha if deployment else ""

        agent, deployed = await self._store.read(look)
        if not deployed:
            raise errors.not_found(f"cannot show the configuration of {name}: it has none yet")
        if not revision or revision == deployed:
            return agent, deployed
        tags = await self._repos.tags(agent)
        matching = {
            tag.sha
            for tag in tags
            if tag.name == revision or (len(revision) >= 7 and tag.sha.startswith(revision))
        }
        if len(matching) != 1:
            raise errors.not_found(
                f"cannot find {revision[:64]!r} of {name}: it is no tag and no tagged commit; "
                f"see: hive history {name}"
            )
        return agent, matching.pop()
