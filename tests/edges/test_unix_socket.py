"""The file of a socket: its mode, its place, and who removes it."""

from __future__ import annotations

import asyncio
import os
import pathlib
from typing import Any

import pytest

from hyperhive.domain import errors
from hyperhive.edges import json_lines, unix_socket
from rigs.line_server import LIMITS, Echo, Serve
from rigs.line_server import serve as serve


def test_it_has_its_mode_and_no_temporary_stays(serve: Serve, tmp_path: Any) -> None:
    async def story() -> None:
        async with serve():
            path = tmp_path / "test.sock"
            assert path.stat().st_mode & 0o7777 == 0o660
            assert [each.name for each in tmp_path.iterdir()] == ["test.sock"]
        assert list(tmp_path.iterdir()) == []

    asyncio.run(story())


def test_a_path_longer_than_the_kernel_takes_works(
    tmp_path: pathlib.Path, fake_log: Any, connect_line: Any
) -> None:
    async def story() -> None:
        path = tmp_path / ("x" * 100) / "y.sock"
        path.parent.mkdir()
        server = json_lines.LineServer(
            Echo(), fake_log, limits=LIMITS, may_connect=lambda peer: True
        )
        await server.open(path, gid=None)
        client = await connect_line(path)
        await client.send(id=1, text="far")
        assert (await client.read())["result"] == "far"
        await client.close()
        await server.close()

    asyncio.run(story())


def test_it_replaces_a_dead_one_and_never_removes_a_newer_one(
    tmp_path: pathlib.Path, fake_log: Any, connect_line: Any
) -> None:
    async def story() -> None:
        path = tmp_path / "test.sock"
        old, new = (
            json_lines.LineServer(Echo(), fake_log, limits=LIMITS, may_connect=lambda peer: True)
            for _ in range(2)
        )
        await old.open(path, gid=None)
        await new.open(path, gid=None)
        await old.close()
        client = await connect_line(path)
        await client.send(id=1, text="new")
        assert (await client.read())["result"] == "new"
        await client.close()
        await new.close()
        assert not path.exists()

    asyncio.run(story())


def test_a_missing_directory_is_a_clear_refusal(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.HiveError, match=r"cannot listen on .*gone") as refusal:
        unix_socket.listen(tmp_path / "gone" / "x.sock", gid=None)
    assert refusal.value.kind is errors.ErrorKind.UNAVAILABLE


def test_a_directory_is_for_its_group_to_search_only(tmp_path: pathlib.Path) -> None:
    made = tmp_path / "door"
    unix_socket.make_directory(made, gid=os.getegid())
    assert made.stat().st_mode & 0o7777 == 0o750
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(errors.HiveError, match="cannot prepare"):
        unix_socket.make_directory(file, gid=None)
