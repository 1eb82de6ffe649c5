"""Enters a running sandbox: a program of its own, run as ``python3 -I -S entry.py FD``.

FD holds an order (`orders.EntryOrder`). With ``ports`` it opens listeners in the
sandbox's loopback and hands them over by SCM_RIGHTS; with ``argv`` it runs a command in all
namespaces of the sandbox, as the payload's uid, without capabilities and under the same
system call filter. It imports nothing of ours and little else (see `launcher`).
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import marshal
import os
import struct
import sys

TYPE_CHECKING = False  # as in `typing`, whose import would cost 10 ms
if TYPE_CHECKING:
    from typing import Any

    Order = dict[str, Any]  # an `orders.EntryOrder`

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
NS_GET_USERNS = 0xB701  # ioctl_ns(2)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CAPABILITY_VERSION, LAST_CAPABILITY = 0x20080522, 63
SIGKILL, SIGPIPE, SIGXFSZ = 9, 13, 25
IP_FREEBIND = 15
NAMESPACES = ("ipc", "uts", "net", "cgroup", "pid", "mnt")
"""The mount namespace last: after it, /proc is the sandbox's own."""

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a libc function that answers -1 on failure."""
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def open_namespaces(order: Order) -> dict[str, int]:
    """Return the namespaces of exactly that process: its start time is compared after opening."""
    pid = order["pid"]
    opened = {
        name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in (*NAMESPACES, "user")
    }
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        begin = int(stream.read().rpartition(")")[2].split()[19])
    if begin != order["start_time"]:
        raise ProcessLookupError("the pid is another process by now")
    return opened


def enter_owner(opened: dict[str, int]) -> None:
    """Without privileges: become the creator that we are of the sandbox's outer user namespace.

    The innermost one (``user``) does not own the others: bwrap makes it last.
    """
    if os.geteuid() != 0:
        call("setns", fcntl.ioctl(opened["net"], NS_GET_USERNS), CLONE_NEWUSER)


def send_listeners(order: Order, daemon: _socket.socket) -> None:
    """Listen inside and send the sockets to the daemon."""
    opened = open_namespaces(order)
    enter_owner(opened)
    call("setns", opened["net"], CLONE_NEWNET)
    listeners: list[_socket.socket] = []
    for port in order["ports"]:
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.setsockopt(_socket.IPPROTO_IP, IP_FREEBIND, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        listeners.append(listener)
    data = b"".join(listener.fileno().to_bytes(4, sys.byteorder) for listener in listeners)
    daemon.sendmsg([b"ok"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])


def run_inside(order: Order) -> int:
    """Run the command in the sandbox and return its exit code (128 + N for signal N)."""
    # Until the command replaces us, nobody inside may look into a process that was the host's.
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    opened = open_namespaces(order)
    for directory in order["cgroups"]:
        with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write("0")
    if os.geteuid() == 0:
        os.setgroups([])
    enter_owner(opened)
    for name in NAMESPACES:
        call("setns", opened[name], 0)
    child = os.fork()
    if child == 0:
        try:
            replace_by_command(order, opened["user"])
        except OSError as error:
            os.write(2, f"cannot run {order['argv'][0]}: {error}\n".encode())
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def replace_by_command(order: Order, user_namespace: int) -> None:
    """In the child, which is a member of the pid namespace: give up everything and execute."""
    call("setns", user_namespace, CLONE_NEWUSER)
    for capability in range(LAST_CAPABILITY + 1):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setresgid(order["uid"], order["uid"], order["uid"])
    os.setresuid(order["uid"], order["uid"], order["uid"])
    # capset(2): effective, permitted and inheritable, two words each, all empty.
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION, 0))
    call("capset", header, ctypes.create_string_buffer(24))
    # Changing ids has reset both.
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(order["cwd"])
    os.umask(0o022)
    for signum in (SIGPIPE, SIGXFSZ):  # Python ignores them, and that would be inherited
        _libc.signal(signum, None)
    load_filter(order["seccomp"])
    execute(order["argv"], order["env"])


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Become the program; only returns by raising.

    Not by `os.execvpe`: that imports a module, from a root that is not ours any more.
    """
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    for directory in env.get("PATH", "/usr/bin:/bin").split(":"):
        try:
            os.execve(f"{directory}/{argv[0]}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError("not found")


def load_filter(program: bytes) -> None:
    """Put the system call filter on this process (seccomp(2), struct sock_fprog)."""
    code = ctypes.create_string_buffer(program, len(program))
    # Native alignment: a short, padding, a pointer.
    filled = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    )
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filled, 0, 0)


def main() -> int:
    """Carry out the order in the file descriptor that argv names; failures go to its socket."""
    with open(int(sys.argv[1]), "rb") as stream:
        order = marshal.load(stream)  # noqa: S302 - written by the daemon
    daemon = _socket.socket(fileno=order["socket"])
    os.set_inheritable(daemon.fileno(), False)
    try:
        if not order["ports"]:
            return run_inside(order)
        send_listeners(order, daemon)
    except (FileNotFoundError, ProcessLookupError):
        daemon.send(b"gone")
    except OSError as error:
        daemon.send(f"refused {error}".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
