"""How the forge's copy stands, and the operator's part in it (S49-S53).

The state is kept in memory: after a start nothing is known until the forge was asked. A fact is
recorded only when what a person would see has changed, so a deploy that is mirrored at once
leaves none. The token lies with the `Secrets` port, never in the store, a fact or an answer.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Collection
from typing import Any

from hyperhive import ports
from hyperhive.domain import access, errors, events


class RepositoryState(enum.Enum):
    """How one repository on the forge compares with ours."""

    UNKNOWN = "unknown"
    """Not asked since the start."""
    IN_STEP = "in_step"
    BEHIND = "behind"
    """We have changes that it has not got yet."""
    ERROR = "error"
    """The last attempt failed; it is tried again by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """One row of the status."""

    name: str
    state: RepositoryState = RepositoryState.UNKNOWN
    lag_refs: int | None = None
    """Refs that differ from what the forge has confirmed; None when it never did."""
    behind_since: datetime.datetime | None = None
    last_ok: datetime.datetime | None = None
    error: str = ""


class Mirroring:
    """The status of the mirror. The mirror loop writes it, page and command line read it."""

    def __init__(
        self,
        store: ports.Store,
        secrets: ports.Secrets,
        clock: ports.Clock,
        mirror: ports.Mirror | None,
        *,
        url: str = "",
        organisation: str = "",
    ) -> None:
        """*mirror* is None when no forge is configured; *url* and *organisation* are shown."""
        self._store = store
        self._secrets = secrets
        self._clock = clock
        self._mirror = mirror
        self._url = url
        self._organisation = organisation
        self._repositories: dict[str, Repository] = {}
        self._announced: frozenset[tuple[str, RepositoryState, str]] = frozenset()
        self.tokens_set = 0
        """How often a token was set; a new one ends every pause after a failure."""

    # --- for people -------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Everything that page, `hive status` and `hive forge status` show; asks nobody."""
        rows = [self._repositories[name] for name in sorted(self._repositories)]
        return {
            "configured": self._mirror is not None,
            "url": self._url,
            "organisation": self._organisation,
            "repositories": [_view(row) for row in rows],
        }

    async def findings(self) -> list[ports.Finding]:
        """For `hive doctor`: asks the forge; nothing when none is configured."""
        return [] if self._mirror is None else await self._mirror.probe()

    async def set_token(self, caller: access.Caller, token: str) -> list[ports.Finding]:
        """Keep the account's token, durably, let the mirror go on, and say how it does.

        `HiveError` INVALID for what cannot be a token.
        """
        access.require(caller, access.Right.OPERATOR, "set the forge's token")
        value = token.strip()
        if not 8 <= len(value) <= 4096 or not value.isascii() or not value.isprintable():
            raise errors.invalid(
                "cannot use this token: it must be 8 to 4096 printable ASCII characters"
            )
        if " " in value:
            raise errors.invalid("cannot use this token: it contains a space")
        await self._secrets.write(ports.TOKEN_SECRET, value)
        self.tokens_set += 1
        await self._record("token set", events.MIRROR)
        if self._mirror is None:
            remedy = "set forge_url in hive.toml and start the hive again"
            text = "the token is kept, but no forge is configured"
            return [ports.Finding("forge", ports.Severity.NOTICE, text, remedy)]
        return await self.findings()

    # --- for the mirror loop ----------------------------------------------------------

    def retain(self, names: Collection[str]) -> None:
        """These are all that there are: others are forgotten, new ones unknown."""
        self._repositories = {
            name: self._repositories.get(name, Repository(name)) for name in names
        }

    def mark_behind(self, name: str, lag: int | None) -> None:
        """It has to be pushed; an error of an earlier attempt stands until one succeeds."""
        row = self._repositories[name]
        state = row.state if row.state is RepositoryState.ERROR else RepositoryState.BEHIND
        since = row.behind_since or self._clock.now()
        self._put(row, state=state, lag_refs=lag, behind_since=since)

    def mark_failed(self, name: str, error: str) -> None:
        """The attempt failed for this reason."""
        row = self._repositories[name]
        since = row.behind_since or self._clock.now()
        self._put(row, state=RepositoryState.ERROR, error=error, behind_since=since)

    def mark_in_step(self, name: str) -> None:
        """The forge has confirmed that it has all."""
        self._put(
            self._repositories[name], state=RepositoryState.IN_STEP, lag_refs=0,
            behind_since=None, last_ok=self._clock.now(), error="",
        )  # fmt: skip

    async def announce(self) -> None:
        """Record a fact if a person would see a difference since the last one."""
        seen = frozenset((row.name, row.state, row.error) for row in self._repositories.values())
        if seen == self._announced:
            return
        # No topic: who waits for MIRROR is the one who calls this.
        await self._record(_summary(self._repositories.values()))
        self._announced = seen

    def _put(self, row: Repository, **changed: Any) -> None:
        self._repositories[row.name] = dataclasses.replace(row, **changed)

    async def _record(self, text: str, *topics: events.Topic) -> None:
        kind = events.EventKind.MIRROR_CHANGED
        await self._store.write(lambda tx: tx.record(events.Event(kind, text=text, topics=topics)))


def _summary(rows: Collection[Repository]) -> str:
    counts = dict.fromkeys(RepositoryState, 0)
    for row in rows:
        counts[row.state] += 1
    return (
        ", ".join(
            f"{count} {state.value.replace('_', ' ')}" for state, count in counts.items() if count
        )
        or "nothing to mirror"
    )


def _view(row: Repository) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": row.state.value,
        "lag_refs": row.lag_refs,
        "behind_since": _time(row.behind_since),
        "last_ok": _time(row.last_ok),
        "error": row.error,
    }


def _time(at: datetime.datetime | None) -> str | None:
    return None if at is None else at.isoformat()
