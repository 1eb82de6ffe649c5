"""One suite for secrets in files and their twin, and what only files do."""

from __future__ import annotations

import asyncio
import os
import pathlib
import stat

import pytest

from hyperhive import ports
from hyperhive.adapters.secrets.files import FileSecrets
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import errors


@pytest.fixture(params=["memory", "files"])
def secrets(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> ports.Secrets:
    return MemorySecrets() if request.param == "memory" else FileSecrets(tmp_path / "secrets")


def test_what_was_never_written_is_none(secrets):
    assert asyncio.run(secrets.read("key")) is None


def test_what_was_written_is_read_as_it_was(secrets):
    async def story():
        await secrets.write("key", " spaces and\nlines ")
        await secrets.write("other", "x")
        assert await secrets.read("key") == " spaces and\nlines "
        await secrets.write("key", "shorter")
        assert await secrets.read("key") == "shorter"
        assert await secrets.read("other") == "x"

    asyncio.run(story())


def test_what_is_deleted_is_gone_and_deleting_again_is_fine(secrets):
    async def story():
        await secrets.delete("key")
        await secrets.write("key", "x")
        await secrets.delete("key")
        await secrets.delete("key")
        assert await secrets.read("key") is None

    asyncio.run(story())


def test_files_are_for_the_daemon_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        asyncio.run(FileSecrets(tmp_path / "secrets").write("key", "x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "secrets" / "key").stat().st_mode) == 0o600


def test_a_write_that_died_half_way_is_no_secret_and_no_obstacle(tmp_path):
    secrets = FileSecrets(tmp_path)
    (tmp_path / ".key.new").write_text("hal")
    assert asyncio.run(secrets.read("key")) is None
    asyncio.run(secrets.write("key", "whole"))
    assert asyncio.run(secrets.read("key")) == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_link_in_the_way_is_not_followed(tmp_path):
    target = tmp_path / "elsewhere"
    target.write_text("untouched")
    (tmp_path / ".key.new").symlink_to(target)
    asyncio.run(FileSecrets(tmp_path).write("key", "x"))
    assert target.read_text() == "untouched"


def test_what_cannot_be_read_or_kept_is_unavailable_and_says_no_secret(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    secrets = FileSecrets(tmp_path)
    with pytest.raises(errors.HiveError, match="cannot read the secret key") as caught:
        asyncio.run(secrets.read("key"))
    assert caught.value.kind is errors.ErrorKind.UNAVAILABLE
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.HiveError, match="cannot keep the secret key") as caught:
        asyncio.run(FileSecrets(tmp_path / "file").write("key", "sk-very-secret"))
    assert "sk-very-secret" not in caught.value.message
