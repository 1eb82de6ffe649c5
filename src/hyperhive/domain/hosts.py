"""Which host an agent may reach: entries of an allow-list, and what they match.

An entry of an allow-list is one of

    example.org              exactly this host; CONNECT to 443 and plain HTTP to 80
    *.example.org            every host below it, not itself
    example.org:8443         this port instead
    git.corp=10.1.2.3        this host at this address; DNS is not asked
    *                        every public host

Which addresses are dialled then is said by `edges.egress.rules`.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from hyperhive.domain import errors

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TLS_PORT: Final = 443
HTTP_PORT: Final = 80

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class BadTarget(Exception):
    """The text names no host and port; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where an agent wants to go. *host* is normalised; an address is in canonical form."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One entry of an allow-list."""

    host: str
    """A host, ``*.suffix``, or ``*``."""
    port: int | None
    pinned: Address | None

    def matches(self, target: Target, usual_port: int) -> bool:
        """Whether *target* is allowed; *usual_port* counts where the entry names none."""
        if target.port != (self.port or usual_port):
            return False
        if self.host == "*":
            return True
        if self.host.startswith("*."):
            # An address has no subdomains, and its text must not be taken for a name.
            return target.host.endswith(self.host[1:]) and not _is_address(target.host)
        return target.host == self.host


def parse_rules(entries: Sequence[str]) -> tuple[Rule, ...]:
    """Read an allow-list; `HiveError` INVALID names the entry that is wrong."""
    return _parse_rules(tuple(entries))


@functools.lru_cache(maxsize=256)
def _parse_rules(entries: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(_parse_rule(entry) for entry in entries)


def _parse_rule(entry: str) -> Rule:
    text, _, pin = entry.strip().partition("=")
    try:
        pinned = ipaddress.ip_address(pin) if pin else None
        wild = text.startswith("*.")
        if text == "*" or text.startswith("*:"):
            if pinned is not None:
                raise BadTarget("a pinned entry is for one name")
            port = parse_authority(f"any{text[1:]}", default_port=0).port
            return Rule("*", port or None, None)
        target = parse_authority(text[2:] if wild else text, default_port=0)
    except (BadTarget, ValueError) as error:
        raise errors.invalid(
            f"cannot allow the host {entry[:80]!r}: {error}; use example.org, *.example.org, "
            "example.org:8443 or example.org=10.1.2.3"
        ) from error
    if wild and (_is_address(target.host) or pinned is not None):
        raise errors.invalid(
            f"cannot allow the host {entry[:80]!r}: only names have subdomains, and a pinned "
            "entry is for one name"
        )
    if pinned is None and _is_address(target.host):
        pinned = ipaddress.ip_address(target.host)
    return Rule(f"*.{target.host}" if wild else target.host, target.port or None, pinned)


def find_rule(rules: Sequence[Rule], target: Target, usual_port: int) -> Rule | None:
    """The entry that allows *target*, a pinning one first; None when there is none."""
    found = [rule for rule in rules if rule.matches(target, usual_port)]
    found.sort(key=lambda rule: rule.pinned is None)
    return found[0] if found else None


def parse_authority(text: str, default_port: int) -> Target:
    """Read ``host``, ``host:port`` or ``[v6]:port``; `BadTarget` for anything odd.

    Numbers that resolvers take for addresses (``2130706433``, ``0x7f.1``, ``127.1``,
    ``010.0.0.1``) are refused: two programs may read them differently.
    """
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or "%" in inside:
            raise BadTarget("an IPv6 address is written [address]:port, without a zone")
        try:
            host = str(ipaddress.IPv6Address(inside))
        except ValueError as error:
            raise BadTarget("this is no IPv6 address") from error
        if rest and not rest.startswith(":"):
            raise BadTarget("there is text after the address")
        port = rest[1:] if rest else ""
        if rest == ":":
            raise BadTarget("the port is missing")
    else:
        name, colon, port = text.partition(":")
        if colon and not port:
            raise BadTarget("the port is missing")
        host = normalise_host(name)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535):
        raise BadTarget("the port is not a number from 1 to 65535")
    return Target(host, int(port) if port else default_port)


def normalise_host(name: str) -> str:
    """Lower case, without the one trailing dot of a full name; `BadTarget` if it is no host."""
    host = name.lower()
    host = host[:-1] if host.endswith(".") else host
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise BadTarget("a host that ends in a number must be a plain IPv4 address") from error
    if not host or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadTarget("this is no host name")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
