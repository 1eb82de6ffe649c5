"""Who may speak to the page at all: checked before anything else of a request.

Loopback is no protection: every web page in the operator's browser can send
requests to it (forms across sites, other ports of this host, DNS rebinding).
So each request must name this hive as its host, must come from this hive's own
page as far as the browser tells, and a write must look like nothing that a
foreign page can send without asking first (Fetch standard, "CORS-safelisted").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hyperhive.domain import errors

WRITE_HEADER: Final = "x-hive"
"""A header that no form can set; its presence forces a preflight that we never answer."""

_SINGLE: Final = frozenset(
    {
        "host", "origin", "sec-fetch-site", "sec-fetch-mode", "content-type", "content-length",
        "cookie", "last-event-id", WRITE_HEADER,
    }
)  # fmt: skip

SECURITY_HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "Cache-Control": "no-store",
    "Server": "hive",
}
"""On every response, errors and streams included."""


class Guard:
    """The names this hive answers to, and the checks of one request."""

    def __init__(self, port: int) -> None:
        names = ("127.0.0.1", "localhost", "[::1]", "hive.localhost")
        hosts = {f"{name}:{port}" for name in names}
        if port == 80:
            hosts.update(names)
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)

    def check(
        self, method: str, raw_headers: Iterable[tuple[bytes, bytes]], *, navigable: bool
    ) -> None:
        """Raise `HiveError` unless the request can only have come from this hive's own page.

        *navigable*: the path is a shell without data, which a typed address may open.
        """
        headers = _single_headers(raw_headers)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            raise errors.forbidden(
                "cannot answer: this is not a name of this hive; open the address that "
                "`hive up` printed"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            raise errors.forbidden("cannot answer: the request comes from another origin")
        site = headers.get("sec-fetch-site")
        reading = method in ("GET", "HEAD")
        typed = (
            site == "none"
            and reading
            and navigable
            and headers.get("sec-fetch-mode", "navigate") == "navigate"
        )
        if site is not None and site != "same-origin" and not typed:
            raise errors.forbidden(
                "cannot answer: the request comes from another site; "
                "type or paste this address into the address bar instead of following a link"
            )
        if reading:
            return
        if site is None and origin is None:
            raise errors.forbidden("cannot write: the request does not say where it comes from")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise errors.forbidden("cannot write: the content type must be application/json")
        if WRITE_HEADER not in headers:
            raise errors.forbidden("cannot write: the header X-Hive is missing")


def _single_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name = raw_name.decode("latin-1").lower()
        if name not in _SINGLE:
            continue
        if name in found:
            # Two readers could each believe another one of them.
            raise errors.invalid(f"cannot answer: the header {name} is given twice")
        found[name] = raw_value.decode("latin-1").strip()
    return found


def cookie_values(raw_headers: Iterable[tuple[bytes, bytes]], name: str) -> list[str]:
    """Every value that the request gives for cookie *name*.

    More than one means that another port of this host has set its own beside ours
    (cookies do not know ports); the caller must then believe none of them.
    """
    values: list[str] = []
    for raw_name, raw_value in raw_headers:
        if raw_name.lower() != b"cookie":
            continue
        for part in raw_value.decode("latin-1").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                values.append(value)
    return values
