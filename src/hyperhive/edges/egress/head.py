"""Reads the head of a proxy request strictly and writes the one that goes on (RFC 9112).

What two programs might read differently is refused, not repaired.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from hyperhive.edges.egress import rules

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE: Final = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.([01])")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
        b"host",
    }
)


class BadHead(Exception):
    """Not a request that a proxy takes; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A request to the proxy. *length* is None for a chunked body."""

    method: str
    target: rules.Target
    path: bytes
    headers: Sequence[tuple[bytes, bytes]]
    length: int | None

    @property
    def is_tunnel(self) -> bool:
        """Whether this asks for a tunnel."""
        return self.method == "CONNECT"

    def onward(self) -> bytes:
        """The head for the origin: its own form, one Host, and closing after this exchange."""
        named = {
            word.strip().lower()
            for name, value in self.headers
            if name == b"connection"
            for word in value.split(b",")
        }
        # The body's frame is ours to keep, whatever Connection names.
        named -= {b"content-length", b"transfer-encoding"}
        default = self.target.port == rules.HTTP_PORT
        host = str(self.target).removesuffix(":80") if default else str(self.target)
        lines = [
            self.method.encode() + b" " + self.path + b" HTTP/1.1",
            b"host: " + host.encode(),
            b"connection: close",
        ]
        lines += [
            name + b": " + value
            for name, value in self.headers
            if name not in _HOP and name not in named
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def parse(text: bytes) -> Head:
    """Read *text*, which ends with the empty line; `BadHead` for anything odd."""
    lines = text.removesuffix(b"\r\n\r\n").split(b"\r\n")
    first = _LINE.fullmatch(lines[0])
    if first is None:
        raise BadHead("the request line is not METHOD TARGET HTTP/1.1")
    headers = [_header(line) for line in lines[1:]]
    method, target = first[1].decode(), first[2]
    try:
        if method == "CONNECT":
            where, path = rules.parse_authority(target.decode(), default_port=0), b""
            if where.port == 0:
                raise BadHead("CONNECT needs a port")
        else:
            where, path = _absolute(target)
        for value in _all(headers, b"host"):
            usual = rules.TLS_PORT if method == "CONNECT" else rules.HTTP_PORT
            given = rules.parse_authority(value.decode("latin-1"), default_port=usual)
            # A client may leave out a tunnel's port in Host.
            if given.host != where.host or (method != "CONNECT" and given.port != where.port):
                raise BadHead("Host names another host than the request line")
    except rules.BadTarget as error:
        raise BadHead(str(error)) from error
    if len(_all(headers, b"host")) > 1:
        raise BadHead("there is more than one Host")
    return Head(method, where, path, headers, _length(headers))


def _absolute(target: bytes) -> tuple[rules.Target, bytes]:
    if not target[:7].lower() == b"http://":
        raise BadHead("the target must be http://host/path, or CONNECT host:port for TLS")
    authority, slash, rest = target[7:].partition(b"/")
    if b"?" in authority:
        authority, _, query = target[7:].partition(b"?")
        slash, rest = b"/", b"?" + query
    if b"#" in target:
        raise BadHead("the target has a fragment")
    return rules.parse_authority(authority.decode(), rules.HTTP_PORT), (slash or b"/") + rest


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        raise BadHead("a header line is not NAME: VALUE")
    return name.lower(), value


def _length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    lengths, codings = _all(headers, b"content-length"), _all(headers, b"transfer-encoding")
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise BadHead("the length of the body is given in two ways, or in an unknown one")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or re.fullmatch(rb"[0-9]{1,15}", lengths[0]) is None:
        raise BadHead("Content-Length is not one number")
    return int(lengths[0])


def _all(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for given, value in headers if given == name]
