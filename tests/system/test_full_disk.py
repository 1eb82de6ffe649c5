"""A disk that is really full: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = r"""
import asyncio, pathlib, sys
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.live_log.sqlite import SqliteLiveLog
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, errors
from hyperhive.services.messaging import Messaging

disk = pathlib.Path(sys.argv[1])

async def main():
    broken = []
    store = await SqliteStore.open(disk / "hive.db", SystemClock(), on_broken=broken.append)
    live = await SqliteLiveLog.open(disk / "live.db", SystemClock())
    mail = Messaging(store, SystemClock())
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    sent, refused = 0, 0
    while refused < 20:
        try:
            await mail.send(access.SYSTEM_CALLER, "operator", "x" * 20_000)
            sent += 1
        except errors.HiveError as error:
            assert error.kind is errors.ErrorKind.UNAVAILABLE, error
            assert "the disk is full" in error.message, error
            refused += 1
        await live.append("a" * 12, [("turn", "text", {"text": "x" * 5_000})])
    assert not broken, broken
    assert await store.read(lambda tx: len(tx.list_messages(limit=9999))) == sent
    ballast.unlink()
    await mail.send(access.SYSTEM_CALLER, "operator", "there is room again")
    before = live.number("a" * 12)
    assert await live.append("a" * 12, [("turn", "text", {})]) == before + 1
    await live.close()
    await store.close()
    store = await SqliteStore.open(disk / "hive.db", SystemClock())
    stored = await store.read(lambda tx: tx.list_messages(limit=9999))
    assert len(stored) == sent + 1, (len(stored), sent)
    await store.close()
    print("sent", sent)

asyncio.run(main())
"""


@pytest.mark.system
def test_a_full_disk_refuses_mail_and_takes_it_again_when_there_is_room(tmp_path) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-ec",
         'mount -t tmpfs -o size=4m none "$1"; exec "$2" -c "$3" "$1"', "sh",
         str(tmp_path), sys.executable, SCRIPT],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 20
