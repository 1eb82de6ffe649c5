"""Where the gateway sends requests, and the credential that it adds to them.

The credential is held in memory only and shows in no repr and no error text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import yarl

from hyperhive.domain import errors

OAUTH_BETA: Final = "oauth-2025-04-20"
"""Beta flag that the Messages API asks of requests with a subscription's token."""


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
    """A Messages API. *base_url* may have a path in front of ``/v1``; *betas* are appended."""

    base_url: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    """Credential headers, added on the way out."""
    betas: tuple[str, ...] = ()
    """Values added to ``anthropic-beta``."""

    def __post_init__(self) -> None:
        check_base_url(self.base_url)

    @property
    def shown(self) -> str:
        """Scheme and host, for error texts."""
        return str(yarl.URL(self.base_url).origin())


def api_key_upstream(base_url: str, key: str) -> Upstream:
    """An upstream that wants an API key; `HiveError` INVALID when that cannot be one."""
    return Upstream(base_url, {"x-api-key": _check_credential(key, "API key")})


def token_upstream(base_url: str, token: str) -> Upstream:
    """An upstream that wants a long-lived subscription token (``claude setup-token``)."""
    checked = _check_credential(token, "token")
    return Upstream(base_url, {"authorization": f"Bearer {checked}"}, (OAUTH_BETA,))


def open_upstream(base_url: str) -> Upstream:
    """An upstream that wants no credential: the scripted model, or a gateway on this host."""
    return Upstream(base_url, {})


def check_base_url(base_url: str) -> None:
    """Raise `HiveError` INVALID unless *base_url* is plain http or https and holds no secret."""
    try:
        url = yarl.URL(base_url)
        host, port = url.host, url.port
    except ValueError as error:
        raise errors.invalid(f"cannot use the model's base URL: {error}") from error
    if url.user is not None or url.password is not None:
        raise errors.invalid(
            "cannot use the model's base URL: it holds a user or password; "
            "give the credential by itself"
        )
    if url.scheme not in ("http", "https") or not host or not port:
        raise errors.invalid(
            f"cannot use {base_url[:80]!r} as the model's base URL: "
            "use http:// or https:// and a host"
        )
    if url.raw_query_string or url.raw_fragment:
        raise errors.invalid("cannot use the model's base URL: it has a query or a fragment")


def _check_credential(text: str, what: str) -> str:
    stripped = text.strip()
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        # Deliberately without the text: it may be a good credential with a stray character.
        raise errors.invalid(
            f"cannot use this {what}: it is empty or has characters that no {what} has; "
            "paste it again, as one line"
        )
    return stripped
