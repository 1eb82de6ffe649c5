"""Listening unix sockets that nobody but the intended can reach or replace.

A socket is bound under a temporary name, given its owner and mode, and renamed
into place: there is no moment at which it stands open to others, a stale file of
a dead daemon is replaced at once, and a sandbox that has the directory bound sees
the new socket without a restart. The directory must not be writable by clients.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import pathlib
import secrets
import socket
import struct
from collections.abc import Callable
from typing import Final

from hyperhive.domain import errors

BACKLOG: Final = 128
_UCRED = struct.Struct("3i")


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel noted it at connect time (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """The credentials of the other side; proves less than which socket it came in on."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(raw))


def listen(
    path: pathlib.Path, *, gid: int | None, mode: int = 0o660
) -> tuple[socket.socket, Callable[[], None]]:
    """Return a listening socket at *path*, of group *gid* (None: our own), and its removal.

    Works for paths beyond the 108 bytes of ``sun_path``: it binds through the
    directory's descriptor. `HiveError` UNAVAILABLE when the system refuses.
    """
    temporary = f".{path.name}.{secrets.token_hex(4)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{temporary}")
            if gid is not None and gid != os.getegid():
                os.chown(temporary, -1, gid, dir_fd=folder, follow_symlinks=False)
            os.chmod(temporary, mode, dir_fd=folder)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        listener.close()
        raise errors.unavailable(f"cannot listen on {path}: {_reason(error)}") from error
    return listener, functools.partial(_remove, path, path.lstat().st_ino)


def make_directory(path: pathlib.Path, *, gid: int | None, mode: int = 0o750) -> None:
    """Make the directory of a socket: the daemon's own, searchable by group *gid*."""
    try:
        path.mkdir(mode=mode, exist_ok=True)
        if gid is not None and gid != os.getegid():
            os.chown(path, -1, gid, follow_symlinks=False)
        path.chmod(mode)
    except OSError as error:
        raise errors.unavailable(f"cannot prepare {path}: {_reason(error)}") from error


def _remove(path: pathlib.Path, inode: int) -> None:
    # Only if it is still ours: a newer daemon's socket stays.
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


def _reason(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return f"{error.strerror}; the daemon must be a member of that group, or root"
    return error.strerror or str(error)
