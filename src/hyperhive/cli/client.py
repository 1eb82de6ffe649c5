"""The admin socket as seen from a terminal: one question at a time, no event loop.

One JSON object per line. ``{"id", "version", "verb", "args"}`` is answered by any number of
``{"id", "event"}`` and then one of ``{"id", "result"}`` and ``{"id", "error"}``.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import Any, Final

from hyperhive.domain import errors
from hyperhive.wire import problems

VERSION: Final = 1
ANSWER_SECONDS: Final = 60.0
"""How long a verb may take; streams wait without limit."""
_PATH_MAX: Final = 100
"""sun_path holds 108 bytes (unix(7)); longer ones are reached through /proc."""


class NoDaemon(Exception):
    """Nobody answers on the admin socket of a home."""

    def __init__(self, home: pathlib.Path) -> None:
        super().__init__(f"hive is not running for home {home}; start it with: hive up")


class DaemonBug(Exception):
    """The daemon met a bug of its own; the message has the reference to its log."""


class AdminClient:
    """Asks the daemon of one home. Each call is a connection of its own."""

    def __init__(self, home: pathlib.Path) -> None:
        self._home = home
        self._path = home / "run" / "admin.sock"

    def call(self, verb: str, *, seconds: float = ANSWER_SECONDS, **args: Any) -> Any:
        """Return the result of *verb*; `HiveError` as the daemon said it, or `NoDaemon`."""
        with self._connect(seconds) as connection:
            _ask(connection, verb, args)
            for answer in self._answers(connection):
                if "event" not in answer:
                    return answer.get("result")
        raise self._cut(verb)

    def stream(self, verb: str, **args: Any) -> Iterator[Any]:
        """Yield the events of *verb* until its result; `HiveError` when the daemon ends first."""
        with self._connect(None) as connection:
            _ask(connection, verb, args)
            for answer in self._answers(connection):
                if "event" not in answer:
                    return
                yield answer["event"]
        raise self._cut(verb)

    def _cut(self, verb: str) -> errors.HiveError:
        return errors.unavailable(
            f"cannot finish {verb}: the daemon ended the connection; look with: hive status"
        )

    def _connect(self, seconds: float | None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            path = str(self._path)
            if len(os.fsencode(path)) <= _PATH_MAX:
                connection.connect(path)
            else:
                directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
                try:
                    connection.connect(f"/proc/self/fd/{directory}/{self._path.name}")
                finally:
                    os.close(directory)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            connection.close()
            raise NoDaemon(self._home) from error
        except PermissionError as error:
            connection.close()
            raise errors.forbidden(
                f"cannot open {self._path}: it belongs to another user; run hive as that user, "
                "or join the group that the setting admin_group names"
            ) from error
        except OSError as error:
            connection.close()
            raise errors.unavailable(f"cannot open {self._path}: {error.strerror}") from error
        return connection

    def _answers(self, connection: socket.socket) -> Iterator[dict[str, Any]]:
        # It shares the socket, which stays open until both are closed.
        with connection.makefile("rb") as reader:
            while True:
                try:
                    line = reader.readline()
                except TimeoutError as error:
                    raise errors.unavailable(
                        f"cannot wait longer: the daemon did not answer within "
                        f"{connection.gettimeout():g} s; look at its log"
                    ) from error
                except OSError:
                    return
                if not line.endswith(b"\n"):
                    return
                answer = json.loads(line)
                error = answer.get("error")
                if error is None:
                    yield answer
                elif error.get("kind") == "bug":
                    raise DaemonBug(str(error.get("message", "no message")))
                else:
                    raise problems.from_rpc(error)


def _ask(connection: socket.socket, verb: str, args: dict[str, Any]) -> None:
    request = {"id": 1, "version": VERSION, "verb": verb, "args": args}
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        # Refused while we were still sending (too large): the answer says why.
        return
