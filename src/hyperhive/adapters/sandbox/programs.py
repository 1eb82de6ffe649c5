"""Runs our two stand-alone programs, `launcher` and `entry`, and understands their answers."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import sys
from collections.abc import Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import orders
from hyperhive.domain import errors

INSTALL: Final = "apt-get install bubblewrap"
MINIMUM_VERSION: Final = (0, 8)
PLACES: Final = ("/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin")
"""Where bwrap is looked for; not in PATH, which is the caller's."""
START_TIMEOUT: Final = 20.0
ENTRY_TIMEOUT: Final = 15.0
_HERE: Final = pathlib.Path(__file__).parent
_ANSWER_BYTES: Final = 4096
_SAID_BYTES: Final = 1024**2


def find_bwrap() -> str:
    """Return where bwrap is; `HiveError` UNAVAILABLE says how to install it."""
    for place in PLACES:
        path = pathlib.Path(place, "bwrap")
        if os.access(path, os.X_OK):
            return str(path)
    raise errors.unavailable(
        f"cannot start a sandbox: bubblewrap is not installed; as root run: {INSTALL}"
    )


class Programs:
    """Hands orders to the programs. Listeners come back over a socket pair, as descriptors."""

    def __init__(self, processes: ports.Processes) -> None:
        self._processes = processes

    async def start(
        self, order: orders.StartOrder, name: str, lock: int
    ) -> tuple[tuple[int, int], dict[int, socket.socket]]:
        """Start a sandbox; return pid and start time of its pid 1, and the listeners.

        The launcher holds *lock* as long as it is at work, whatever becomes of us.
        `HiveError` UNAVAILABLE holds what the launcher said, and what bwrap wrote to the log.
        """
        log = pathlib.Path(order["log"])
        offset = _size(log)
        here, there = _pair()
        with here, there:
            order["private_fds"] = [there.fileno(), lock]
            fds = order["private_fds"]
            result = await self._run("launcher.py", order, fds, START_TIMEOUT, b"")
            there.close()
            word, _, rest = result.stdout.decode("utf-8", "replace").partition(" ")
            if word != "ok":
                reason = rest or result.stderr.decode("utf-8", "replace").strip()
                said = _written_since(log, offset)
                raise errors.unavailable(
                    f"cannot start the sandbox of {name}: {reason}"
                    f"{f' ({said})' if said else ''}; 'hive doctor' looks closer"
                )
            pid, begin = map(int, rest.split())
            return (pid, begin), _receive(here, order["ports"], f"the sandbox of {name}")

    async def listen(self, order: orders.EntryOrder, whose: str) -> dict[int, socket.socket]:
        """Open the ports of *order* in a running sandbox."""
        here, there = _pair()
        with here, there:
            order["socket"] = there.fileno()
            await self._run("entry.py", order, [there.fileno()], ENTRY_TIMEOUT, b"")
            there.close()
            return _receive(here, order["ports"], whose)

    async def run(
        self, order: orders.EntryOrder, whose: str, stdin: bytes, timeout: float, limit: int
    ) -> ports.ExecResult:
        """Run the command of *order* in a running sandbox."""
        here, there = _pair()
        with here, there:
            order["socket"] = there.fileno()
            try:
                result = await self._run("entry.py", order, [there.fileno()], timeout, stdin, limit)
            except errors.HiveError as error:
                what = f"{order['argv'][0]} in {whose}"
                raise errors.unavailable(error.message.replace(sys.executable, what)) from error
            there.close()
            said = here.recv(_ANSWER_BYTES)
        if said:
            raise _refusal(f"cannot run {order['argv'][0]} in {whose}", said)
        return ports.ExecResult(result.code, result.stdout, result.stderr)

    async def _run(
        self,
        program: str,
        order: orders.StartOrder | orders.EntryOrder,
        fds: Sequence[int],
        timeout: float,
        stdin: bytes,
        limit: int = _SAID_BYTES,
    ) -> ports.ProcessResult:
        with orders.written(order) as fd:
            # -I -S: nothing of the environment, the directory or site-packages is imported.
            return await self._processes.run(
                [sys.executable, "-I", "-S", str(_HERE / program), str(fd)],
                pass_fds=[fd, *fds],
                timeout=timeout,
                stdin=stdin,
                output_limit=limit,
            )


def _pair() -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The answer was sent before the program ended: it is there, or it never comes.
    here.setblocking(False)
    return here, there


def _receive(here: socket.socket, opened: Sequence[int], whose: str) -> dict[int, socket.socket]:
    if not opened:
        return {}
    try:
        said, fds, _, _ = socket.recv_fds(here, _ANSWER_BYTES, len(opened))
    except BlockingIOError:
        said, fds = b"", []
    listeners = {port: socket.socket(fileno=fd) for port, fd in zip(opened, fds, strict=False)}
    if len(fds) != len(opened):
        for listener in listeners.values():
            listener.close()
        raise _refusal(f"cannot open a port in {whose}", said)
    for listener in listeners.values():
        listener.setblocking(False)
        os.set_inheritable(listener.fileno(), False)
    return listeners


def _refusal(what: str, said: bytes) -> errors.HiveError:
    if said in (b"", b"gone"):
        return errors.unavailable(f"{what}: it does not run any more")
    detail = said.removeprefix(b"refused ").decode("utf-8", "replace")
    return errors.unavailable(f"{what}: {detail}")


def _size(log: pathlib.Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def _written_since(log: pathlib.Path, offset: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(offset)
        return stream.read(_ANSWER_BYTES).decode("utf-8", "replace").strip()
    return ""
