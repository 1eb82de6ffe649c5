"""Where the mirror is: a forge and an organisation, spelt in one way."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import urllib.parse
from typing import Final

from hyperhive import ports

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """One organisation on one forge."""

    base: str
    """Root of the forge without a slash at its end, e.g. ``https://git.example/forge``."""
    organisation: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what git matches ``credential.<url>`` with."""
        parts = urllib.parse.urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urllib.parse.urlsplit(self.base).scheme

    def clone_url(self, name: str) -> str:
        """Where git finds the repository of that name."""
        return f"{self.base}/{self.organisation}/{checked(name)}.git"

    def is_in_the_clear(self) -> bool:
        """Whether the token travels unencrypted over more than this machine's loopback."""
        parts = urllib.parse.urlsplit(self.base)
        host = parts.hostname or ""
        if parts.scheme == "https" or host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return True


def make(url: str, organisation: str) -> Place:
    """The place that the settings name; they have been checked."""
    parts = urllib.parse.urlsplit(url)
    base = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
    return Place(base, organisation)


def checked(name: str) -> str:
    """*name* of a repository, which ends up in URLs; `MirrorError` LOCAL for an impossible one."""
    if not _NAME.fullmatch(name):
        raise ports.MirrorError(
            ports.Fault.LOCAL, f"cannot mirror a repository called {name[:100]!r}"
        )
    return name
