"""Which address an agent may reach, and which never.

A name is allowed by its text (`domain.hosts`) and then again by the address that it
resolves to: only public addresses are dialled. A private one needs an entry that pins
it, and loopback, link-local, multicast, metadata and this host's own addresses are out
of reach whatever an entry says.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from hyperhive.domain.hosts import (
    HTTP_PORT,
    TLS_PORT,
    Address,
    BadTarget,
    Rule,
    Target,
    find_rule,
    normalise_host,
    parse_authority,
    parse_rules,
)

__all__ = [
    "HTTP_PORT", "TLS_PORT", "Address", "BadTarget", "Rule", "Target", "find_rule", "is_own",
    "normalise_host", "parse_authority", "parse_rules", "why_not",
]  # fmt: skip

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(
    {
        ipaddress.ip_address("168.63.129.16"),  # Azure's, on a public address
        ipaddress.ip_address("169.254.169.254"),
        ipaddress.ip_address("fd00:ec2::254"),
        ipaddress.ip_address("100.100.100.200"),
    }
)


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
