"""One claude process: pipes, lines, end.

Rule: it never outlives the harness. The kernel kills it when its parent dies
(PR_SET_PDEATHSIG, prctl(2)), and what it leaves behind when it crashes is
found because orphans come to the harness (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import json
import os
import signal
from typing import Any, Callable, Deque, Dict, List, NoReturn, Optional, Set, Tuple

from hyperhive.harness import reactor

LINE_MAX = 32 * 1024 * 1024
_READ = 256 * 1024
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Claude:
    """A started program; *on_line* gets each JSON object, *on_stderr* each line of text."""

    def __init__(
        self,
        loop: reactor.Reactor,
        argv: List[str],
        env: Dict[str, str],
        cwd: str,
        on_line: Callable[[Dict[str, Any]], None],
        on_stderr: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_line = on_line
        self._on_stderr = on_stderr
        self._out = bytearray()
        self._err = bytearray()
        self._to_write = bytearray()
        self._skipping = False
        self._closing = False
        self._tail: Deque[str] = collections.deque(maxlen=20)
        self._adopted = set(orphans())
        self.pid, self._stdin, self._stdout, self._stderr = _spawn(argv, env, cwd)
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        loop.watch(self._stdout, self._read_out, None)
        loop.watch(self._stderr, self._read_err, None)

    def write(self, message: Dict[str, Any]) -> None:
        """Say one line; silently lost when the program is gone (its exit is reported)."""
        if self._stdin < 0 or self._closing:
            return
        self._to_write += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self._write_some()

    def close_input(self) -> None:
        """Let the program finish what it does and leave."""
        self._closing = True
        if not self._to_write:
            self._close_stdin()

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def resident(self) -> int:
        """Bytes of memory it holds now; 0 when it is gone."""
        try:
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except (OSError, IndexError):
            return 0

    def drain(self) -> str:
        """After it was reaped: read the rest, close the pipes, return the end of its stderr."""
        self._read_out()
        self._read_err()
        if self._err:
            self._tail.append(self._err.decode("utf-8", "replace"))
        self._close_stdin()
        for fd in (self._stdout, self._stderr):
            if fd >= 0:
                self._loop.unwatch(fd)
                os.close(fd)
        self._stdout = self._stderr = -1
        return "\n".join(self._tail)

    def sweep(self) -> int:
        """Kill what it left behind (a crash orphans the shells of its tools); return how many."""
        left = [pid for pid in orphans() if pid not in self._adopted]
        for pid in left:
            for victim in session_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
        return len(left)

    def _write_some(self) -> None:
        while self._to_write and self._stdin >= 0:
            try:
                written = os.write(self._stdin, self._to_write)
            except BlockingIOError:
                self._loop.watch(self._stdin, None, self._write_some)
                return
            except BrokenPipeError:
                self._to_write.clear()
                self._close_stdin()
                return
            del self._to_write[:written]
        if self._stdin >= 0:
            self._loop.unwatch(self._stdin)
            if self._closing:
                self._close_stdin()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            self._loop.unwatch(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    def _read_out(self) -> None:
        self._stdout = self._pump(self._stdout, self._out, self._one_line)

    def _read_err(self) -> None:
        self._stderr = self._pump(self._stderr, self._err, self._one_error)

    def _pump(self, fd: int, buffer: bytearray, take: Callable[[bytes], None]) -> int:
        while fd >= 0:
            try:
                chunk = os.read(fd, _READ)
            except BlockingIOError:
                return fd
            if not chunk:
                self._loop.unwatch(fd)
                os.close(fd)
                return -1
            searched = len(buffer)
            buffer += chunk
            start = 0
            end = buffer.find(b"\n", searched)
            while end >= 0:
                take(bytes(buffer[start:end]))
                start, end = end + 1, buffer.find(b"\n", end + 1)
            del buffer[:start]
            if len(buffer) > LINE_MAX:
                buffer.clear()
                # Of stdout only: the rest of such a line is no JSON.
                self._skipping = self._skipping or buffer is self._out
        return fd

    def _one_line(self, line: bytes) -> None:
        if self._skipping:
            self._skipping = False
            self._on_stderr(f"a line of more than {LINE_MAX} bytes was skipped")
            return
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            self._on_line(event)
        elif line.strip():
            self._one_error(line)

    def _one_error(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._tail.append(text[:2000])
            self._on_stderr(text)


def adopt_orphans() -> None:
    """Make this process the parent of what its descendants orphan (prctl(2))."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of orphans")


def reap() -> List[Tuple[int, int]]:
    """Return (pid, code) of every child that has ended; the code is negative for a signal."""
    ended: List[Tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        ended.append((pid, code))


def orphans() -> Set[int]:
    """Present children of this process (proc(5), field 4 of stat)."""
    me = os.getpid()
    return {pid for pid, parent, _ in _processes() if parent == me}


def session_of(leader: int) -> List[int]:
    """*leader* and all processes of its session (setsid(2))."""
    return [leader, *[pid for pid, _, session in _processes() if session == leader]]


def start_time(pid: int) -> Optional[int]:
    """When *pid* started, in ticks since boot, or None when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_zombie(pid: int) -> bool:
    """Whether *pid* has ended and only waits for its parent to notice."""
    fields = _stat(pid)
    return fields is not None and fields[0] == "Z"


def _stat(pid: int) -> Optional[List[str]]:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _processes() -> List[Tuple[int, int, int]]:
    found: List[Tuple[int, int, int]] = []
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields:
            found.append((int(name), int(fields[1]), int(fields[3])))
    return found


def _spawn(argv: List[str], env: Dict[str, str], cwd: str) -> Tuple[int, int, int, int]:
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    parent = os.getpid()
    # Not the subprocess module: the harness reaps every child itself (it adopts
    # orphans), and two reapers would steal each other's exit codes.
    pid = os.fork()
    if pid == 0:
        _become(argv, env, cwd, (in_read, out_write, err_write), parent)
    for fd in (in_read, out_write, err_write):
        os.close(fd)
    return pid, in_write, out_read, err_read


def _become(
    argv: List[str], env: Dict[str, str], cwd: str, pipes: Tuple[int, int, int], parent: int
) -> NoReturn:
    try:
        for target, fd in enumerate(pipes):
            os.dup2(fd, target, inheritable=True)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(125)
        os.chdir(cwd)
        os.execve(argv[0], argv, env)  # noqa: S606 - a list, no shell
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "")
        os.write(2, f"cannot run {argv[0]}: {error.strerror} ({reason})\n".encode())
    finally:
        os._exit(127)
