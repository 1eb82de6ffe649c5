"""Which host an agent may reach, and which address never: pure decisions.

An entry of an allow-list is one of

    example.org              exactly this host; CONNECT to 443 and plain HTTP to 80
    *.example.org            every host below it, not itself
    example.org:8443         this port instead
    git.corp=10.1.2.3        this host at this address; DNS is not asked
    *                        every public host

A name is allowed by its text and then again by the address that it resolves to:
only public addresses are dialled. A private one needs an entry that pins it, and
loopback, link-local, multicast, metadata and this host's own addresses are out of
reach whatever an entry says.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Final, TypeAlias

from hyperhive.domain import errors

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TLS_PORT: Final = 443
HTTP_PORT: Final = 80

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(
    {
        ipaddress.ip_address("168.63.129.16"),  # Azure's, on a public address
        ipaddress.ip_address("169.254.169.254"),
        ipaddress.ip_address("fd00:ec2::254"),
        ipaddress.ip_address("100.100.100.200"),
    }
)


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
            host, port = "*", text[2:]
            if port and not port.isdigit():
                raise BadTarget("its port is not a number")
            return Rule(host, int(port) if port else None, None)
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


def why_not(address: str, pinned: Address | None) -> str | None:
    """Why *address* must not be dialled; None when it may be.

    *pinned* is the address that the operator wrote into the entry, if any: that
    one may be private.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "not an address"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour is not None or ip.teredo is not None:
            return "a tunnel to another address"
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
            return why_not(str(inner), pinned)
        if ip.ipv4_mapped is not None:
            return why_not(str(ip.ipv4_mapped), pinned)
    if ip in _METADATA:
        return "a cloud's metadata address"
    if ip.is_loopback or ip.is_unspecified:
        return "this host"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_multicast or int(ip) == 0xFFFFFFFF:
        return "a multicast address"
    if not ip.is_global and ip != pinned:
        return "a private address"
    if is_own(str(ip)):
        return "this host"
    return None


def is_own(address: str) -> bool:
    """Whether *address* belongs to this machine, public or not.

    The kernel sends to an own address from that same address; nothing is sent
    by connecting a datagram socket (connect(2)).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return probe.getsockname()[0] == address
    except OSError:
        # No route: then it is not ours, and dialling it will say so.
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
