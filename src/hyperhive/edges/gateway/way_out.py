"""Which of the host's proxies a request to the upstream takes: a pure decision.

The variables mean what they mean to curl, git and pip (curl(1), ENVIRONMENT), with one
difference: an upstream on loopback is never asked through a proxy, which would be another host's.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

import yarl


class HostProxies(Protocol):
    """What the host's proxy variables say; the settings of a daemon have these names."""

    @property
    def https_proxy(self) -> str:
        """URL of the proxy for upstreams with https, maybe with user and password; or empty."""
        ...

    @property
    def http_proxy(self) -> str:
        """The same for upstreams with plain http."""
        ...

    @property
    def no_proxy(self) -> str:
        """Hosts to reach without one, with commas between them."""
        ...


def choose(target: yarl.URL, proxies: HostProxies) -> yarl.URL | None:
    """The proxy for *target*; None to go there directly."""
    chosen = proxies.https_proxy if target.scheme == "https" else proxies.http_proxy
    host = (target.host or "").lower().rstrip(".")
    if not chosen or _is_this_host(host):
        return None
    entries = proxies.no_proxy.lower().replace(",", " ").split()
    if any(_names(entry, host, target.port) for entry in entries):
        return None
    return yarl.URL(chosen)


def _names(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY is for *host*: itself, its domain, its network, or ``*``."""
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, given = _split(entry)
    if given and given != str(port):
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, str]:
    """Host and port of an entry; an IPv6 address with a port stands in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _is_this_host(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
