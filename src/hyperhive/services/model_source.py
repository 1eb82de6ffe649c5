"""Where the model comes from: an API key, a long-lived token, the demo, or nowhere yet.

The secret lies with the `Secrets` port, never in the store, a fact, a log or an
answer. The gateway asks `current` for each request, so a change works at once.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Awaitable, Callable
from typing import Any

from hyperhive import ports
from hyperhive.domain import access, errors, events

SECRET_NAME = "model-credential"  # noqa: S105 - the name of the file, not a secret
VALUE_NAME = "model_source"


class SourceKind(enum.Enum):
    """What the gateway adds on the way out."""

    NONE = "none"
    API_KEY = "api_key"
    TOKEN = "token"  # noqa: S105 - a word
    DEMO = "demo"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What to send requests with."""

    kind: SourceKind
    base_url: str
    secret: str = dataclasses.field(default="", repr=False)


class ModelSource:
    """The one place that knows the model credential."""

    def __init__(
        self,
        store: ports.Store,
        secrets: ports.Secrets,
        upstream: str,
        start_demo: Callable[[], Awaitable[str]],
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._upstream = upstream
        self._start_demo = start_demo
        self._current = Source(SourceKind.NONE, upstream)

    async def load(self, *, demo: bool, api_key: str, token: str) -> None:
        """Take up what was set last, else the environment's credential, else nothing.

        *demo* (``hive up --demo``) wins for this run and is not remembered.
        """
        if demo:
            await self._use(SourceKind.DEMO)
            return
        stored = await self._store.read(lambda tx: tx.get_value(VALUE_NAME))
        chosen = None if stored is None else stored.get("set")
        if chosen is not None and SourceKind(chosen) not in _WITH_SECRET:
            await self._use(SourceKind(chosen))
            return
        kept = None if chosen is None else await self._secrets.read(SECRET_NAME)
        if kept is not None:
            # The kind beside the secret wins: we may have died before the store heard of it.
            await self._use(*_parse(kept))
        elif api_key:
            await self._use(SourceKind.API_KEY, api_key)
        elif token:
            await self._use(SourceKind.TOKEN, token)
        else:
            await self._use(SourceKind.NONE)

    async def set(self, caller: access.Caller, kind: str, secret: str) -> dict[str, Any]:
        """Set the source, durably, before returning; running agents go on with it."""
        access.require(caller, access.Right.OPERATOR, "set the model credential")
        try:
            chosen = SourceKind(kind)
        except ValueError as error:
            allowed = ", ".join(each.value for each in SourceKind)
            raise errors.invalid(f"cannot use {kind[:32]!r}: choose one of {allowed}") from error
        value = secret.strip()
        if chosen in _WITH_SECRET:
            if not 8 <= len(value) <= 4096 or not value.isascii() or not value.isprintable():
                raise errors.invalid(
                    "cannot use this credential: it must be 8 to 4096 printable ASCII characters"
                )
            if " " in value:
                raise errors.invalid("cannot use this credential: it contains a space")
            await self._secrets.write(SECRET_NAME, f"{chosen.value} {value}")
            await self._use(chosen, value, by_operator=True)
        else:
            await self._use(chosen, by_operator=True)
            await self._secrets.delete(SECRET_NAME)
        return await self.status()

    async def status(self) -> dict[str, Any]:
        """What is set, without the secret."""
        return {
            "kind": self._current.kind.value,
            "upstream": self._current.base_url,
            "ready": self.ready(),
        }

    def ready(self) -> bool:
        """Whether turns can run at all."""
        return self._current.kind is not SourceKind.NONE

    def credential(self) -> str:
        """What the claude program should believe it has: "api_key", "token", or "" for nothing."""
        if not self.ready():
            return ""
        return "token" if self._current.kind is SourceKind.TOKEN else "api_key"

    def current(self) -> Source:
        """What the gateway uses for the next request."""
        return self._current

    async def _use(self, kind: SourceKind, secret: str = "", *, by_operator: bool = False) -> None:
        base = await self._start_demo() if kind is SourceKind.DEMO else self._upstream
        self._current = Source(kind, base, secret)

        def work(tx: ports.Tx) -> None:
            known: dict[str, Any] = tx.get_value(VALUE_NAME) or {}
            value = {
                "kind": kind.value,
                # The number makes a new credential of the same kind end the pauses of the old one.
                "number": known.get("number", 0) + 1,
                # What a run with other means leaves as it is.
                "set": kind.value if by_operator else known.get("set"),
            }
            tx.put_value(VALUE_NAME, value)
            tx.record(
                events.Event(
                    events.EventKind.MODEL_SOURCE_SET, text=kind.value, topics=(events.SETTINGS,)
                )
            )

        await self._store.write(work)


def _parse(kept: str) -> tuple[SourceKind, str]:
    word, _, secret = kept.partition(" ")
    for kind in _WITH_SECRET:
        if word == kind.value and secret:
            return kind, secret
    raise errors.unavailable(
        f"cannot use the stored model credential: the secret {SECRET_NAME} is damaged; "
        "delete its file and set the credential again"
    )


_WITH_SECRET = frozenset({SourceKind.API_KEY, SourceKind.TOKEN})
