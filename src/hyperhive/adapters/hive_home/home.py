"""A hive's home: its directories, and the lock that makes its daemon the only one.

The lock is flock(2) on ``run/daemon.lock``, held for the life of the process and
dropped by the kernel at its death, so there is no stale lock to clean.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import stat
from collections.abc import Iterator

from hyperhive.domain import errors


@contextlib.contextmanager
def hold(home: pathlib.Path) -> Iterator[None]:
    """Make the home's directories and hold its lock.

    `HiveError` CONFLICT when another daemon holds it, UNAVAILABLE when the place
    cannot be made, INVALID when others could write there.
    """
    try:
        _make(home)
        descriptor = os.open(home / "run" / "daemon.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise errors.unavailable(
            f"cannot use {home} as the hive's home: {error.strerror or error}; choose another "
            "with --home"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise errors.conflict(
                f"cannot start: a hive already runs in {home} (process {holder}); "
                "see it with `hive status`, end it with `hive down`"
            ) from None
        try:
            # Always as long: on a full disk it can be written over, not made anew.
            os.pwrite(descriptor, f"{os.getpid():<15}\n".encode(), 0)
        except OSError as error:
            raise errors.unavailable(
                f"cannot write to {home}: {error.strerror}; make room, or choose another home "
                "with --home"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _make(home: pathlib.Path) -> None:
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    found = home.stat()
    if found.st_uid != os.geteuid():
        raise errors.invalid(
            f"cannot use {home} as the hive's home: it belongs to uid {found.st_uid}, "
            f"and this is uid {os.geteuid()}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.invalid(
            f"cannot use {home} as the hive's home: others may write to it; mend it with: "
            f"chmod go-w {home}"
        )
    # Passable, not listable: agents' uids must reach their own directories below.
    home.chmod(0o711)
    for name, mode in (("run", 0o711), ("agents", 0o711), ("log", 0o700), ("store", 0o700)):
        directory = home / name
        directory.mkdir(mode=mode, exist_ok=True)
        directory.chmod(mode)
