"""Which process is which: proof by boot id, pid and start time, and being told of its end.

A bare pid is never trusted. A pidfd is opened first and the start time compared
after, so that what is signalled is what was meant (pidfd_open(2), proc(5)).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator

from hyperhive.domain import agents

_PROC = pathlib.Path("/proc")


def boot_id() -> str:
    """Return the random id of this boot of the host."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int:
    """Return field 22 of /proc/PID/stat; ProcessLookupError when dead or a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise ProcessLookupError(f"no process {pid}") from error
    # Field 2, the name, may hold anything: count from its closing parenthesis.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])


def is_alive(identity: agents.SandboxIdentity) -> bool:
    """Whether exactly that process lives; a zombie does not."""
    if identity.boot_id != boot_id():
        return False
    try:
        return start_time(identity.pid) == identity.start_time
    except ProcessLookupError:
        return False


@contextlib.contextmanager
def hold(identity: agents.SandboxIdentity) -> Iterator[int]:
    """Lend a pidfd of exactly that process; ProcessLookupError when it has ended."""
    if identity.boot_id != boot_id():
        raise ProcessLookupError("the host has been restarted since")
    pidfd = os.pidfd_open(identity.pid)
    try:
        if start_time(identity.pid) != identity.start_time:
            raise ProcessLookupError(f"{identity.pid} is another process by now")
        yield pidfd
    finally:
        os.close(pidfd)


async def ended(identity: agents.SandboxIdentity) -> None:
    """Return when that process has ended; woken by its pidfd."""
    try:
        with hold(identity) as pidfd:
            await readable(pidfd)
    except ProcessLookupError:
        return


async def readable(fd: int) -> None:
    """Return when *fd* has something to say."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.remove_reader(fd)
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def send_signal(identity: agents.SandboxIdentity, signum: signal.Signals) -> None:
    """Signal exactly that process; one that has ended is no error."""
    with contextlib.suppress(ProcessLookupError), hold(identity) as pidfd:
        signal.pidfd_send_signal(pidfd, signum)


def kill_member(pid: int, is_member: Callable[[int], bool]) -> None:
    """Kill *pid* if, once it is held, it still is what the caller takes it for."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_member(pid):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def identify(pid: int) -> agents.SandboxIdentity:
    """Return the identity of a process that lives now, or raise ProcessLookupError."""
    return agents.SandboxIdentity(boot_id(), pid, start_time(pid))


def children(pid: int) -> list[int]:
    """Return the pids of the children of *pid*; empty when it has ended."""
    try:
        text = (_PROC / f"{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def pid_inside(pid: int) -> int:
    """Return the pid that *pid* has in its innermost pid namespace; 0 when it has ended."""
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0


def payload(sandbox: agents.SandboxIdentity) -> agents.SandboxIdentity:
    """Return the payload: pid 2 inside, the first child of bwrap's init; ProcessLookupError."""
    for child in children(sandbox.pid):
        if pid_inside(child) == 2:
            return identify(child)
    raise ProcessLookupError("the payload has ended")


def members(sandbox: agents.SandboxIdentity) -> list[int]:
    """Return the pids of all processes in the pid namespace of a sandbox, by looking at every one.

    For hosts without cgroups; processes of other users are not seen.
    """
    space = _namespace(sandbox.pid)
    if not space:
        return []
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _namespace(pid) == space]


def consumption(pids: list[int]) -> tuple[int, float]:
    """Return the resident bytes and the processor seconds of processes (proc(5), stat)."""
    memory, ticks = 0, 0
    for pid in pids:
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = stat.rpartition(")")[2].split()
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        ticks += int(fields[11]) + int(fields[12])
    return memory, ticks / os.sysconf("SC_CLK_TCK")


def _namespace(pid: int) -> str:
    try:
        return str((_PROC / str(pid) / "ns/pid").readlink())
    except OSError:
        # It has ended, or it is another user's and so no member.
        return ""
