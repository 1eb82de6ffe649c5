"""Host programs as children of the daemon: none outlives its call, none sees our environment.

Every child leads its own session, so that one `killpg` reaches what it started.
It is reaped whatever happens to the caller (time-out, cancellation, error).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from hyperhive import ports
from hyperhive.domain import errors

DEFAULT_PATH: Final = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
)
DEFAULT_ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": DEFAULT_PATH, "LC_ALL": "C.UTF-8"}
"""What every program gets; entries of ``env`` are added and win."""

_PIPE: Final = asyncio.subprocess.PIPE
LINE_LIMIT: Final = 64 * 1024
"""A longer line is handed to ``on_line`` in pieces."""

_LINGER: Final = 2.0
"""How long a dead program's output may stay open (a child that it left holds it)."""


class HostProcesses:
    """Runs programs on this host. See `ports.Processes`."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | pathlib.Path = b"",
        cwd: pathlib.Path | None = None,
        timeout: float = 60.0,
        pass_fds: Sequence[int] = (),
        output_limit: int = 16 * 1024 * 1024,
        on_line: Callable[[str], None] | None = None,
    ) -> ports.ProcessResult:
        """Run *argv* to its end in *cwd* (default ``/``).

        A program that ends by signal N has code -N. *on_line* gets the lines of
        stdout and stderr as they come, without their newline. More than
        *output_limit* bytes in all kill the group: UNAVAILABLE, never a cut result.
        """
        loop = asyncio.get_running_loop()
        watch = _Watch(loop, output_limit, on_line)
        try:
            with _source(stdin) as source:
                made = await loop.subprocess_exec(
                    lambda: watch,
                    *argv,
                    stdin=source,
                    env={**DEFAULT_ENVIRONMENT, **(env or {})},
                    cwd=cwd or "/",
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            if error.filename == str(stdin):
                raise errors.unavailable(f"cannot run {argv[0]}: no input {stdin}") from error
            # The exception names what was not found: the directory, or the program.
            if cwd is not None and error.filename == str(cwd):
                raise errors.unavailable(f"cannot run {argv[0]}: no directory {cwd}") from error
            raise errors.unavailable(
                f"cannot run {argv[0]}: the program is missing; install it"
            ) from error
        except OSError as error:
            raise errors.unavailable(f"cannot run {argv[0]}: {error.strerror}") from error
        transport = cast(asyncio.SubprocessTransport, made[0])
        try:
            if isinstance(stdin, bytes):
                _feed(transport, stdin)
            async with asyncio.timeout(timeout):
                # Shielded: cancelling the caller must not cancel the news of the end.
                await asyncio.shield(watch.gone)
                await watch.drained()
        except TimeoutError as error:
            raise errors.unavailable(
                f"cannot finish {argv[0]}: it took longer than {timeout:g} s and was ended"
            ) from error
        finally:
            if not watch.gone.done():
                # Its own session: the group has its pid until it is reaped, so this is ours.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(transport.get_pid(), signal.SIGKILL)
                await asyncio.shield(watch.gone)
            transport.close()
        if watch.overflow:
            raise errors.unavailable(
                f"cannot use the output of {argv[0]}: more than {output_limit} bytes"
            )
        watch.flush()
        code = transport.get_returncode()
        assert code is not None
        return ports.ProcessResult(code, bytes(watch.output[1]), bytes(watch.output[2]))


@contextlib.contextmanager
def _source(stdin: bytes | pathlib.Path) -> Iterator[int]:
    """Lend what the program reads: a pipe to be filled, or a file."""
    if isinstance(stdin, bytes):
        yield _PIPE
        return
    fd = os.open(stdin, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    pipe = cast("asyncio.WriteTransport | None", transport.get_pipe_transport(0))
    assert pipe is not None
    if stdin:
        pipe.write(stdin)
    # Closes once everything is written; a program that does not read is no error.
    pipe.close()


class _Watch(asyncio.SubprocessProtocol):
    """Collects the output of one child; callbacks only, so that nothing can be left running."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self.gone: asyncio.Future[None] = loop.create_future()
        """The program has been reaped."""
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.overflow = False
        self._closed: dict[int, asyncio.Future[None]] = {
            1: loop.create_future(),
            2: loop.create_future(),
        }
        self._limit = limit
        self._on_line = on_line
        self._lines: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.overflow:
            return
        if sum(map(len, self.output.values())) + len(data) > self._limit:
            self.overflow = True
            assert self._transport is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)
            return
        self.output[fd] += data
        if self._on_line is not None:
            self._lines[fd] += data
            self._emit(fd)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd in self._closed and not self._closed[fd].done():
            self._closed[fd].set_result(None)

    def process_exited(self) -> None:
        self.gone.set_result(None)

    async def drained(self) -> None:
        """Return when all output has been read, or a child that was left holds it too long."""
        await asyncio.wait(self._closed.values(), timeout=_LINGER)

    def flush(self) -> None:
        """Hand over a last line that has no newline."""
        for rest in self._lines.values():
            if rest and self._on_line is not None:
                self._on_line(rest.decode("utf-8", "replace"))
            rest.clear()

    def _emit(self, fd: int) -> None:
        waiting = self._lines[fd]
        on_line: Any = self._on_line
        while (end := waiting.find(b"\n")) >= 0 or len(waiting) > LINE_LIMIT:
            cut = end if 0 <= end <= LINE_LIMIT else LINE_LIMIT
            line = bytes(waiting[:cut])
            del waiting[: cut + 1 if cut == end else cut]
            on_line(line.decode("utf-8", "replace"))
