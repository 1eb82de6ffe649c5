"""What both implementations of the repositories agree on: names, tags, differences.

Pure: the store decides, and these say how what git has compares with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.config_repo import git_objects
from hyperhive.domain import errors, ids

MAIN: Final = "refs/heads/main"
TAGS: Final = "refs/tags/"
SEED_MESSAGE: Final = "Begin the configuration"
ANNOTATED: Final = frozenset({ports.TagKind.FAILED, ports.TagKind.DENIED})
"""Tags that always say something (S32); the others do when there is a message."""
MESSAGE_MAX: Final = 16_000
_FINAL: Final = (ports.TagKind.DEPLOYED, ports.TagKind.FAILED, ports.TagKind.DENIED)

_TAG: Final = re.compile(
    rf"refs/tags/({'|'.join(kind.value for kind in ports.TagKind)})/(0|[1-9][0-9]{{0,17}})"
)


def tag_message(tag: ports.Tag) -> str:
    """The text of an annotated tag, empty for a lightweight one."""
    text = tag.message.strip()
    if not text and tag.kind in ANNOTATED:
        return tag.kind.value
    if len(text) > MESSAGE_MAX:
        return f"{text[:MESSAGE_MAX]}\n[… {len(text) - MESSAGE_MAX} more characters]"
    return text


def parse_tag(ref: str) -> tuple[ports.TagKind, int] | None:
    """Kind and approval of a full ref name; None for one that is no tag of ours."""
    match = _TAG.fullmatch(ref)
    return None if match is None else (ports.TagKind(match[1]), int(match[2]))


def check_wanted(tags: Sequence[ports.Tag]) -> None:
    """INVALID when *tags* name one tag twice with different commits, or a negative approval."""
    seen: dict[str, str] = {}
    for tag in tags:
        ids.parse_sha(tag.sha)
        if tag.approval < 0:
            raise errors.invalid(f"cannot make the tag {tag.name}: approvals begin at 0")
        if seen.setdefault(tag.name, tag.sha) != tag.sha:
            raise errors.invalid(f"cannot make the tag {tag.name}: two commits are given for it")


def missing(tags: Sequence[ports.Tag], found: Mapping[str, str]) -> list[ports.Tag]:
    """What of *tags* is not in *found* (full ref name to commit); CONFLICT when one differs."""
    check_wanted(tags)
    wanted: dict[str, ports.Tag] = {}
    for tag in tags:
        sha = found.get(TAGS + tag.name)
        if sha is None:
            wanted.setdefault(tag.name, tag)
        elif sha != tag.sha:
            raise errors.conflict(
                f"cannot make the tag {tag.name} at {tag.sha[:12]}: it exists at {sha[:12]}; "
                "tags are never moved"
            )
    return list(wanted.values())


def differences(
    wanted: Sequence[ports.Tag],
    main: str | None,
    found: Mapping[str, str],
    *,
    lost: Collection[str] = (),
    forward: bool,
) -> tuple[list[ports.Tag], str | None, list[str]]:
    """What a reconcile must create, where it must move main (None: nowhere), and what differs.

    *lost* are wanted commits that are not there; *forward* says whether main can be
    fast-forwarded, which is what a daemon that died between tag and main leaves to do.
    """
    create: dict[str, ports.Tag] = {}
    said = [f"commit {sha[:12]} is not in the repository any more" for sha in sorted(lost)]
    names = {TAGS + tag.name for tag in wanted}
    for tag in wanted:
        sha = found.get(TAGS + tag.name)
        if sha is None and tag.sha not in lost:
            create.setdefault(tag.name, tag)
        elif sha is not None and sha != tag.sha:
            said.append(
                f"tag {tag.name} is at {sha[:12] or 'no commit'}, the store says {tag.sha[:12]}"
            )
    known = {tag.approval for tag in wanted}
    over = {tag.approval for tag in wanted if tag.kind in _FINAL}
    for ref, sha in sorted(found.items()):
        if ref == MAIN or ref in names or _is_under_way(parse_tag(ref), known, over):
            continue
        said.append(f"{ref} at {sha[:12] or 'no commit'} is not known to the store")
    here = found.get(MAIN)
    move = None
    if main is not None and here != main and main not in lost:
        if forward:
            move = main
        else:
            said.append(
                f"main is at {here[:12] if here else 'no commit'}, the store says {main[:12]}"
            )
    return list(create.values()), move, said


def _is_under_way(
    parsed: tuple[ports.TagKind, int] | None, known: Collection[int], over: Collection[int]
) -> bool:
    """Whether a tag that nobody wants may be one that the store is about to want.

    A proposal is pinned before its commit is written down, and what a deploy under way has
    pinned is wanted only when it is over.
    """
    if parsed is None:
        return False
    kind, approval = parsed
    return kind is ports.TagKind.PROPOSAL or (approval in known and approval not in over)


def check_deployed(sha: str, found: Mapping[str, str]) -> None:
    """CONFLICT when no tag deployed/… names *sha*: main never stands elsewhere."""
    ids.parse_sha(sha)
    for ref, at in found.items():
        parsed = parse_tag(ref)
        if at == sha and parsed and parsed[0] is ports.TagKind.DEPLOYED:
            return
    raise errors.conflict(
        f"cannot move main to {sha[:12]}: no tag deployed/… names it; make the tag first"
    )


def check_forward(here: str | None, sha: str, *, forward: bool) -> None:
    """CONFLICT unless main, at *here*, can be fast-forwarded to *sha*."""
    if not forward:
        raise errors.conflict(
            f"cannot move main to {sha[:12]}: that does not descend from {(here or '')[:12]}, "
            "where main is; rebase the proposal on main"
        )


def require_main(found: Mapping[str, str]) -> str:
    """The commit of main; UNAVAILABLE when it is gone."""
    main = found.get(MAIN)
    if not main:
        raise errors.unavailable(
            "cannot make a commit on top of main: there is no main; restart the hive, which "
            "makes it again"
        )
    return main


def check_size(blob: str, size: int, limit: int) -> None:
    """INVALID when a blob has more than *limit* bytes."""
    if size > limit:
        raise errors.invalid(f"cannot read {blob[:12]}: it has {size} bytes, more than {limit}")


def commit(sha: str, fields: git_objects.CommitFields, tags: tuple[str, ...] = ()) -> ports.Commit:
    """A commit object as the ports show it."""
    return ports.Commit(
        sha, fields.tree, fields.parents, fields.author, fields.at, fields.message, tags
    )


def newest_first(found: Mapping[str, str]) -> list[tuple[str, tuple[str, ...]]]:
    """(commit, its tags) of *found*, by the highest approval that names it."""
    by_sha: dict[str, list[tuple[int, int, str]]] = {}
    order = {kind: number for number, kind in enumerate(ports.TagKind)}
    for ref, sha in found.items():
        parsed = parse_tag(ref)
        if parsed is not None and sha:
            kind, approval = parsed
            by_sha.setdefault(sha, []).append((approval, order[kind], ref.removeprefix(TAGS)))
    newest = sorted(by_sha.items(), key=lambda row: max(row[1]), reverse=True)
    return [(sha, tuple(name for _, _, name in sorted(tags))) for sha, tags in newest]


def compare(
    before: Sequence[ports.TreeFile], after: Sequence[ports.TreeFile]
) -> list[ports.Change]:
    """Changed paths in order; no renames guessed."""
    old, new = ({file.path: file for file in files} for files in (before, after))
    paths = sorted(old.keys() | new.keys())
    return [
        ports.Change(path, old.get(path), new.get(path))
        for path in paths
        if old.get(path) != new.get(path)
    ]
