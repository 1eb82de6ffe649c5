"""The egress proxy over real sockets: what passes, what is refused, and what it says."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.edges.egress import proxy as inner
from hyperhive.edges.egress import rules
from rigs.egress_world import (
    ALICE,
    BOB,
    PUBLIC,
    ask,
    connect,
    setup,
    status,
)


def test_a_tunnel_to_an_allowed_host_carries_both_ways_and_half_closes() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            port = await s.serve()
            # `ask` ends its side at once: the echo still arrives.
            got = await ask(port, connect("Example.ORG.:443") + "hello")
            assert got == b"HTTP/1.1 200 Connection established\r\n\r\nhello"
            assert s.world.dialled == [(PUBLIC, 443)]

    asyncio.run(run())


def test_a_megabyte_passes_whole() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            port = await s.serve()
            blob = bytes(range(256)) * 8192
            got = await ask(port, connect("example.org:443").encode() + blob)
            assert got.partition(b"\r\n\r\n")[2] == blob

    asyncio.run(run())


@pytest.mark.parametrize(
    "target",
    [
        "evil.example:443",
        "example.org:80",
        "example.org:22",
        "example.org.evil.example:443",
        "xexample.org:443",
        "sub.example.org:443",
        "wild.example:443",
        "[::1]:443",
        "127.0.0.1:443",
        "localhost.:443",
    ],
)
def test_what_is_not_allowed_is_refused_with_a_reason_and_not_even_resolved(target: str) -> None:
    async def run() -> None:
        async with setup("example.org", "*.wild.example") as s:
            got = await ask(await s.serve(), connect(target))
            assert status(got) == 403
            first, _, rest = got.decode().partition("\r\n")
            name = target.rsplit(":", 1)[0].removesuffix(".")
            assert f"{name}:" in first
            assert "the operator can allow it" in first
            assert "allowed_hosts" in rest
            assert s.world.asked == []
            assert s.world.dialled == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("entry", "target"),
    [
        ("*.example.org", "a.b.example.org:443"),
        ("example.org:8443", "example.org:8443"),
        ("*", "anything.example:443"),
        ("EXAMPLE.org.", "example.org:443"),
        ("2606:2800:220:1::1", None),
        ("[2606:2800:220:1::1]", "[2606:2800:0220:0001::1]:443"),
        ("93.184.216.34", "93.184.216.34:443"),
        ("git.corp=10.1.2.3", "git.corp:443"),
        ("10.1.2.3:8443", "10.1.2.3:8443"),
    ],
)
def test_entries_allow_what_they_say(entry: str, target: str | None) -> None:
    async def run() -> None:
        async with setup(entry) as s:
            if target is None:
                assert status(await ask(await s.serve(), connect("x:443"))) == 500
                return
            assert status(await ask(await s.serve(), connect(target))) == 200
            if "=" in entry:
                assert s.world.dialled == [("10.1.2.3", 443)]
                assert s.world.asked == []

    asyncio.run(run())


def test_agents_are_told_apart_and_lists_count_at_once() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            alice, bob = await s.serve(ALICE), await s.serve(BOB)
            assert status(await ask(alice, connect("example.org:443"))) == 200
            assert status(await ask(bob, connect("example.org:443"))) == 403
            s.allow = {BOB: ["example.org"]}
            assert status(await ask(alice, connect("example.org:443"))) == 403
            assert status(await ask(bob, connect("example.org:443"))) == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1",
        "169.254.169.254", "fe80::1", "fe80::1%lo", "fd00:ec2::254", "168.63.129.16",
        "100.100.100.200", "10.0.0.1", "192.168.1.1", "172.16.0.1", "fc00::1", "224.0.0.1",
        "ff02::1", "255.255.255.255", "240.0.0.1",
    ],
)  # fmt: skip
def test_an_allowed_name_never_leads_to_an_address_that_is_not_public(address: str) -> None:
    async def run() -> None:
        async with setup("*") as s:
            s.world.names["trap.example"] = [[address]]
            got = await ask(await s.serve(), connect("trap.example:443"))
            assert status(got) == 403
            assert b"not reachable from a sandbox" in got
            assert s.world.dialled == []

    asyncio.run(run())


def test_an_entry_with_an_address_does_not_open_this_host() -> None:
    async def run() -> None:
        async with setup("127.0.0.1", "x.corp=127.0.0.1", "[::1]", "169.254.169.254") as s:
            port = await s.serve()
            for target in ("127.0.0.1:443", "x.corp:443", "[::1]:443", "169.254.169.254:443"):
                assert status(await ask(port, connect(target))) == 403
            assert s.world.dialled == []

    asyncio.run(run())


def test_this_hosts_own_public_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        assert rules.is_own("127.0.0.1")
        assert not rules.is_own(PUBLIC)
        monkeypatch.setattr(rules, "is_own", lambda address: address == PUBLIC)
        async with setup("example.org") as s:
            assert status(await ask(await s.serve(), connect("example.org:443"))) == 403
            assert s.world.dialled == []

    asyncio.run(run())


def test_what_the_rules_refuse_is_noted_and_what_is_away_is_not() -> None:
    async def run() -> None:
        async with setup("example.org", "inside.example", "nowhere.example") as s:
            s.world.names = {"inside.example": [["10.0.0.7"]], "nowhere.example": [[]]}
            port = await s.serve()
            assert status(await ask(port, connect("evil.example:8443"))) == 403
            assert status(await ask(port, "GET http://Evil.example/x HTTP/1.1\r\n\r\n")) == 403
            assert status(await ask(port, connect("inside.example:443"))) == 403
            assert status(await ask(port, connect("nowhere.example:443"))) == 502
            assert status(await ask(port, "nonsense\r\n\r\n")) == 400
            assert status(await ask(port, connect("example.org:443"))) == 200
            assert s.refused == [
                (ALICE, "evil.example:8443", "not allowed"),
                (ALICE, "evil.example:80", "not allowed"),
                (ALICE, "inside.example:443", "resolves to a private address"),
            ]

    asyncio.run(run())


def test_dns_is_asked_once_and_that_very_address_is_dialled() -> None:
    async def run() -> None:
        async with setup("rebind.example") as s:
            s.world.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
            assert status(await ask(await s.serve(), connect("rebind.example:443"))) == 200
            assert s.world.asked == ["rebind.example"]
            assert s.world.dialled == [(PUBLIC, 443)]

    asyncio.run(run())


def test_the_public_ones_of_several_addresses_are_tried_in_order() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            s.world.names["example.org"] = [["127.0.0.1", "1.1.1.1", PUBLIC]]
            dial = s.world.dial

            async def fail_first(address: str, port: int) -> inner.Streams:
                if address == "1.1.1.1":
                    raise ConnectionRefusedError(111, "Connection refused")
                return await dial(address, port)

            s.proxy._dial = fail_first
            assert status(await ask(await s.serve(), connect("example.org:443"))) == 200
            assert s.world.dialled == [(PUBLIC, 443)]

    asyncio.run(run())


def test_hosts_that_cannot_be_resolved_or_reached_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(inner, "DIAL_SECONDS", 0.05)
        async with setup("*") as s:
            port = await s.serve()
            s.world.names["gone.example"] = [[]]
            got = await ask(port, connect("gone.example:443"))
            assert (status(got), b"cannot be resolved" in got) == (502, True)

            async def refuse(_address: str, _port: int) -> inner.Streams:
                raise ConnectionRefusedError(111, "Connection refused")

            async def hang(_address: str, _port: int) -> inner.Streams:
                return await asyncio.Event().wait()  # type: ignore[return-value]

            for dial, text in ((refuse, b"connection refused"), (hang, b"no answer in time")):
                s.proxy._dial = dial
                got = await ask(port, connect("down.example:443"))
                assert (status(got), text in got) == (502, True)

    asyncio.run(run())
