"""The card of an approval: everything that the operator must see before deciding, as data.

Rule: what is computed here stands first and what the requester says is quoted below; the
bytes come from *applied*, never from a repository that an agent can write. What nobody can
have read (too large, binary) or could misread (invisible, look-alike, too much at once) is
named in ``needs_acknowledgement``, and `Cards.require_read` refuses without it.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import approvals, configuration, errors, ids, proposals
from hyperhive.ports import config_repo
from hyperhive.services import file_changes, line_diff, named_secrets, visible
from hyperhive.wire import views

TEXT_TOTAL: Final = 1_000_000
"""Bytes of all files that one card shows, both sides; the rest is listed as not read."""
LINES_TOTAL: Final = 30_000
COMPARED_KEPT: Final = 8
"""Comparisons kept in memory: whoever approves has just looked, and commits never change."""
HASHED_MAX: Final = 8 * 1024 * 1024
"""A file that is not shown is hashed up to this size; above it its git object id has to do."""
FILES_AT_ONCE: Final = 20
LINES_AT_ONCE: Final = 400
"""Beyond these a person skims: every file must be acknowledged (threats.md 1.10)."""
EXECUTABLE: Final = "100755"
_FIRST: Final = (configuration.FILE_NAME, configuration.NIX_FILE_NAME)
_DECIDED: Final = frozenset(
    {
        approvals.ApprovalState.APPROVED,
        approvals.ApprovalState.BUILDING,
        approvals.ApprovalState.DEPLOYED,
        approvals.ApprovalState.FAILED,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """What the store knows of one approval, from one read."""

    approval: approvals.Approval
    proposal: proposals.Proposal | None
    bases: tuple[tuple[str, str], ...]
    """Name and commit, the one that is deployed first."""
    missing_secrets: tuple[str, ...] = ()
    """Named by the proposal's configuration, not set on this host."""

    def find_base(self, name: str) -> str | None:
        """The commit of that base; None is the empty tree."""
        found = dict(self.bases).get(name)
        if found is None and (name != "deployed"):
            raise errors.not_found(
                f"cannot compare approval {self.approval.id} with {name[:32]!r}: there is "
                f"{' and '.join(known for known, _ in self.bases) or 'nothing to compare with'}"
            )
        return found


class Cards:
    """Reads for deciding; writes nothing."""

    def __init__(self, store: ports.Store, repos: config_repo.ConfigRepos) -> None:
        self._store = store
        self._repos = repos
        self._compared: collections.OrderedDict[
            tuple[ids.AgentId, str | None, str], list[dict[str, Any]]
        ] = collections.OrderedDict()

    async def card(self, approval_id: int, base: str = "deployed") -> dict[str, Any]:
        """Return the whole card; NOT_FOUND for an approval or a base that there is not.

        *base* is ``deployed`` (what ran when this was shown), ``approved`` (the last approval)
        or ``previous`` (the proposal before).
        """
        rows = await self._store.read(lambda tx: _look(tx, approval_id))
        before = rows.find_base(base)
        card: dict[str, Any] = {
            "approval": views.approval_view(rows.approval, rows.proposal),
            "proposal": rows.proposal and views.proposal_view(rows.proposal),
            "commit": None,
            "bases": [{"name": name, "sha": sha} for name, sha in rows.bases],
            "base": base,
            "files": [],
            "effects": dict(rows.proposal.effects) if rows.proposal else {},
            "missing_secrets": list(rows.missing_secrets),
            "description": visible.show_text(rows.approval.description),
            "requested_by": rows.approval.requested_by_name,
            "digest": rows.approval.digest,
            "needs_acknowledgement": [],
        }
        proposal = rows.proposal
        if proposal is None or not proposal.sha:
            return card
        card["commit"] = commit_view(await self._repos.show(proposal.agent_id, proposal.sha))
        card["files"] = await self.compare(proposal.agent_id, before, proposal.sha)
        decisive = card["files"]
        if before != (deployed := rows.find_base("deployed")):
            decisive = await self.compare(proposal.agent_id, deployed, proposal.sha)
        card["needs_acknowledgement"] = find_unread(decisive)
        return card

    async def require_read(
        self, approval_id: int, digest: str, acknowledged: Collection[str]
    ) -> None:
        """Refuse an approval by *digest* that leaves something unread and not acknowledged.

        What the digest does not fit to is not looked at: `review.Review.approve` refuses it.
        So this and the decision speak of the same bytes, whatever happens in between.
        """
        rows = await self._store.read(lambda tx: _look(tx, approval_id))
        proposal = rows.proposal
        if proposal is None or not proposal.sha or rows.approval.digest != digest:
            return
        if rows.approval.state is not approvals.ApprovalState.PENDING or not proposal.is_built:
            return
        files = await self.compare(proposal.agent_id, rows.find_base("deployed"), proposal.sha)
        require_acknowledged(approval_id, find_unread(files), acknowledged)

    async def compare(
        self, agent: ids.AgentId, before: str | None, after: str
    ) -> list[dict[str, Any]]:
        """Return the changed files between two commits, the riskiest first."""
        key = (agent, before, after)
        if key not in self._compared:
            self._compared[key] = await self._compare(agent, before, after)
            while len(self._compared) > COMPARED_KEPT:
                self._compared.popitem(last=False)
        return self._compared[key]

    async def _compare(
        self, agent: ids.AgentId, before: str | None, after: str
    ) -> list[dict[str, Any]]:
        changes = sorted(await self._repos.changes(agent, before, after), key=_rank)
        shown: set[str] = set()
        left = TEXT_TOTAL
        # Sizes decide before any content is fetched.
        for change in changes:
            size = sum(file.size for file in _sides(change))
            if max_size(change) <= file_changes.TEXT_MAX and size <= left:
                left -= size
                shown.add(change.path)
        files = [(file, change.path in shown) for change in changes for file in _sides(change)]
        texts = await self._repos.read_blobs(
            agent, _blobs(file for file, is_shown in files if is_shown), limit=TEXT_TOTAL
        )
        _drop_endless(changes, shown, texts)
        unread = await self._hash(agent, [file for file, is_shown in files if not is_shown])

        def side(path: str, file: config_repo.TreeFile | None) -> file_changes.Side:
            if file is None:
                return file_changes.Side(None, None)
            if path in shown:
                return file_changes.Side(file, texts[file.blob])
            return unread.get(file) or file_changes.Side.unread(file, texts[file.blob])

        return await asyncio.to_thread(
            _view_all,
            [(c.path, side(c.path, c.before), side(c.path, c.after)) for c in changes],
        )

    async def fetch(self, agent: ids.AgentId, file: config_repo.TreeFile) -> file_changes.Side:
        """Return one file with its content, or hashed when it is too large to be shown."""
        if file.size > file_changes.TEXT_MAX:
            return (await self._hash(agent, [file]))[file]
        content = await self._repos.read_blob(agent, file.blob, limit=file_changes.TEXT_MAX)
        if file_changes.count_lines(content) > file_changes.LINES_MAX:
            return file_changes.Side.unread(file, content)
        return file_changes.Side(file, content)

    async def _hash(
        self, agent: ids.AgentId, files: Sequence[config_repo.TreeFile]
    ) -> dict[config_repo.TreeFile, file_changes.Side]:
        """Files that are only listed: a few megabytes of them at a time."""
        made = {file: file_changes.Side.unread(file, None) for file in files}
        batch: list[config_repo.TreeFile] = []
        room = HASHED_MAX
        for file in [*sorted(made, key=lambda file: file.size), None]:
            if batch and (file is None or file.size > room):
                found = await self._repos.read_blobs(agent, _blobs(batch), limit=HASHED_MAX)
                for each in batch:
                    made[each] = await asyncio.to_thread(
                        file_changes.Side.unread, each, found[each.blob]
                    )
                batch, room = [], HASHED_MAX
            if file is not None and file.size <= HASHED_MAX:
                batch.append(file)
                room -= file.size
        return made


def require_acknowledged(
    approval_id: int, unread: Sequence[dict[str, Any]], acknowledged: Collection[str]
) -> None:
    """CONFLICT naming what is *unread* and was not *acknowledged*."""
    missing = [entry for entry in unread if entry["path"] not in acknowledged]
    if missing:
        named = "; ".join(f"{each['path']} ({', '.join(each['reasons'])})" for each in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise errors.conflict(
            f"cannot approve approval {approval_id}: acknowledge first what cannot be taken as "
            f"read: {named}{more}"
        )


def find_unread(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return which files cannot be taken as read, each with the reasons."""
    changed = sum(file["added"] + file["removed"] for file in files)
    crowd = len(files) > FILES_AT_ONCE or changed > LINES_AT_ONCE
    found: list[dict[str, Any]] = []
    for file in files:
        reasons: list[str] = []
        if file["kind"] != "text":
            reasons.append(f"{file['kind']}, not read")
        reasons += [mark["says"] for mark in file["marks"]]
        if "⟦" in file["path"]:
            reasons.append("unusual characters in its name")
        if crowd and not reasons:
            reasons.append(f"one of {len(files)} files with {changed} changed lines")
        if reasons:
            found.append({"path": file["path"], "reasons": reasons})
    return found


def commit_view(commit: config_repo.Commit) -> dict[str, Any]:
    """A commit as JSON. Author and message are somebody's words: escaped, to be quoted."""
    return {
        "sha": commit.sha,
        "author": visible.show_text(commit.author),
        "at": views.timestamp(commit.at),
        "message": visible.show_text(commit.message),
        "tags": list(commit.tags),
    }


def _drop_endless(
    changes: Sequence[config_repo.Change], shown: set[str], texts: Mapping[str, bytes]
) -> None:
    """Take from *shown* what has more lines than a card holds."""
    left = LINES_TOTAL
    for change in changes:
        if change.path in shown:
            lines = file_changes.count_lines(*(texts[file.blob] for file in _sides(change)))
            if lines > min(left, file_changes.LINES_MAX):
                shown.remove(change.path)
            else:
                left -= lines


def _sides(change: config_repo.Change) -> list[config_repo.TreeFile]:
    return [file for file in (change.before, change.after) if file is not None]


def _blobs(files: Iterable[config_repo.TreeFile]) -> list[str]:
    return list(dict.fromkeys(file.blob for file in files))


def max_size(change: config_repo.Change) -> int:
    """Bytes of the larger side."""
    return max((file.size for file in _sides(change)), default=0)


def _rank(change: config_repo.Change) -> tuple[bool, bool, bool, str]:
    """What can do most comes first: the configuration itself, programs, what is not shown."""
    runs = change.after is not None and change.after.mode == EXECUTABLE
    large = max_size(change) > file_changes.TEXT_MAX
    return change.path not in _FIRST, not runs, not large, change.path


def _view_all(
    sides: Sequence[tuple[str, file_changes.Side, file_changes.Side]],
) -> list[dict[str, Any]]:
    budget = line_diff.Budget()
    return [file_changes.view(path, before, after, budget) for path, before, after in sides]


def _look(tx: ports.ReadTx, approval_id: int) -> Rows:
    approval = tx.get_approval(ids.ApprovalId(approval_id))
    if approval is None:
        raise errors.not_found(f"cannot find approval {approval_id}")
    proposal = tx.get_proposal(approval.id)
    if proposal is None:
        return Rows(approval, None, ())
    bases = [("deployed", proposal.base_sha)] if proposal.base_sha else []
    earlier = [
        other
        for other in tx.list_proposals(agent=proposal.agent_id)
        if other.approval < proposal.approval and other.sha
    ]
    approved = next((other for other in earlier if _is_approved(tx, other)), None)
    if approved is not None:
        bases.append(("approved", approved.sha))
    if earlier:
        bases.append(("previous", earlier[0].sha))
    made = configuration.from_json(proposal.configuration)
    return Rows(approval, proposal, tuple(bases), tuple(named_secrets.missing(tx, made)))


def _is_approved(tx: ports.ReadTx, proposal: proposals.Proposal) -> bool:
    approval = tx.get_approval(proposal.approval)
    return approval is not None and approval.decided_at is not None and approval.state in _DECIDED
