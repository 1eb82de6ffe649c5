"""Sign-in links and sessions: secrets are handed out once and kept only as SHA-256.

A link's secret is 256 random bits, works once, within ten minutes, and only in
the daemon that gave it. A session outlives a daemon restart: its hash is a
value of the store. This object is the only writer of those values, so its own
copy is the truth and a look-up costs no read.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import hashlib
import secrets
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import errors, events

LINK_SECONDS: Final = 600.0
LINKS_MAX: Final = 32
SESSIONS_MAX: Final = 64
ATTEMPTS_MAX: Final = 10
ATTEMPTS_SECONDS: Final = 60.0

_PREFIX = "session:"
_INSTANCE = "page:instance"


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser; ``key`` is the hash of its cookie."""

    key: str
    expires_at: datetime.datetime


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


class Sessions:
    """Signs browsers in and knows who is signed in."""

    def __init__(self, store: ports.Store, clock: ports.Clock, seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._seconds = seconds
        self._links: dict[str, float] = {}
        self._sessions: dict[str, Session] = {}
        self._failures: collections.deque[float] = collections.deque(maxlen=ATTEMPTS_MAX)
        self._instance = ""

    @property
    def cookie_name(self) -> str:
        """Distinct per hive: cookies are shared by all ports of a host."""
        return f"hive-{self._instance}"

    @property
    def seconds(self) -> float:
        """How long a sign-in lasts."""
        return self._seconds

    async def load(self) -> None:
        """Read the sessions of earlier daemon runs and drop those that have ended."""
        now = self._clock.now()

        def work(tx: ports.Tx) -> tuple[str, dict[str, Any]]:
            instance = tx.get_value(_INSTANCE)
            if instance is None:
                instance = secrets.token_hex(4)
                tx.put_value(_INSTANCE, instance)
            kept: dict[str, Any] = {}
            for key, value in tx.list_values(_PREFIX).items():
                if datetime.datetime.fromisoformat(value["expires_at"]) <= now:
                    tx.delete_value(key)
                else:
                    kept[key.removeprefix(_PREFIX)] = value
            return instance, kept

        self._instance, kept = await self._store.write(work)
        self._sessions = {
            key: Session(key, datetime.datetime.fromisoformat(value["expires_at"]))
            for key, value in kept.items()
        }

    def new_link_secret(self) -> str:
        """Return the secret of a new sign-in link; of more than 32 open ones the oldest ends."""
        self._drop_old_links()
        while len(self._links) >= LINKS_MAX:
            del self._links[next(iter(self._links))]
        secret = secrets.token_urlsafe(32)
        self._links[_hash(secret)] = self._clock.monotonic() + LINK_SECONDS
        return secret

    async def exchange(self, secret: str) -> str:
        """Use up a link's secret and return the secret of a new session, for its cookie.

        `HiveError` FORBIDDEN when the link is unknown, used or old; UNAVAILABLE after
        ten failures within a minute.
        """
        moment = self._clock.monotonic()
        if len(self._failures) == ATTEMPTS_MAX and moment - self._failures[0] < ATTEMPTS_SECONDS:
            raise errors.unavailable(
                "cannot sign in: too many failed attempts; wait a minute, then use a new link "
                "from `hive login`"
            )
        self._drop_old_links()
        if self._links.pop(_hash(secret), None) is None:
            self._failures.append(moment)
            raise errors.forbidden(
                "cannot sign in: the link was used before or is older than ten minutes; "
                "get a new one with `hive login`"
            )
        cookie = secrets.token_urlsafe(32)
        now = self._clock.now()
        session = Session(_hash(cookie), now + datetime.timedelta(seconds=self._seconds))
        ended = self._ended(now)

        def work(tx: ports.Tx) -> None:
            for key in ended:
                tx.delete_value(_PREFIX + key)
            value = {"created_at": now.isoformat(), "expires_at": session.expires_at.isoformat()}
            tx.put_value(_PREFIX + session.key, value)
            tx.record(events.Event(events.EventKind.OPERATOR_SIGNED_IN, text="on the page"))

        await self._store.write(work)
        for key in ended:
            self._sessions.pop(key, None)
        self._sessions[session.key] = session
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of that cookie while it lasts; None is "not signed in"."""
        session = self._sessions.get(_hash(cookie))
        if session is None or session.expires_at <= self._clock.now():
            return None
        return session

    def is_valid(self, session: Session) -> bool:
        """Whether *session* still lasts."""
        return session.key in self._sessions and session.expires_at > self._clock.now()

    async def end(self, session: Session) -> None:
        """Sign that browser out."""
        await self._forget([session.key])

    async def end_all(self) -> None:
        """Sign every browser out and void the open links."""
        self._links.clear()
        await self._forget(list(self._sessions))

    async def _forget(self, keys: list[str]) -> None:
        # First here, so that a store that refuses to write keeps nobody signed in.
        for key in keys:
            self._sessions.pop(key, None)

        def work(tx: ports.Tx) -> None:
            for key in keys:
                tx.delete_value(_PREFIX + key)

        await self._store.write(work)

    def _drop_old_links(self) -> None:
        moment = self._clock.monotonic()
        self._links = {key: until for key, until in self._links.items() if until > moment}

    def _ended(self, now: datetime.datetime) -> list[str]:
        """Sessions to forget when one more signs in: those over, and the oldest beyond 63."""
        alive = sorted(
            (s for s in self._sessions.values() if s.expires_at > now), key=lambda s: s.expires_at
        )
        surplus = {s.key for s in alive[: max(0, len(alive) - SESSIONS_MAX + 1)]}
        return [s.key for s in self._sessions.values() if s.expires_at <= now or s.key in surplus]
