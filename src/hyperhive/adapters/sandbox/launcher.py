"""Starts one sandbox and goes away: a program of its own, run as ``python3 -I -S launcher.py FD``.

FD holds an order (`orders.StartOrder`); nothing of it is in argv, where the whole host
could read it. The launcher forks a child that leaves the daemon's session, joins the
agent's cgroups, builds a private view of what it may bind (as root), becomes the
agent's host uid and turns into bwrap(1). That process then belongs to init: sandbox, log
and status file outlive the daemon, and no Python of ours stays in memory.

It imports nothing of ours: it runs isolated, as root, in front of untrusted code. And
little else: ``pathlib``, ``json``, ``socket`` and ``signal`` would double the time that a
sandbox takes to start. It answers ``ok PID START`` or ``error REASON`` on stdout.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import marshal
import os
import resource
import sys

TYPE_CHECKING = False  # as in `typing`, whose import would cost 10 ms
if TYPE_CHECKING:
    from typing import Any

    Order = dict[str, Any]  # an `orders.StartOrder`
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 0x1000, 0x4000, 1 << 19
NS_GET_USERNS = 0xB701  # ioctl_ns(2)
PR_SET_NO_NEW_PRIVS = 38
IP_FREEBIND = 15
SIGKILL, SIGPIPE, SIGXFSZ, SIG_SETMASK = 9, 13, 25, 2
STAGE = "/tmp"
"""Where the private view is mounted; exists on every host and is open to every uid."""

_libc = ctypes.CDLL(None, use_errno=True)


class Refusal(Exception):
    """A step that the host refused, in words for the operator."""


def call(name: str, *arguments: Any) -> None:
    """Call a libc function that answers -1 on failure."""
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount, as mount(2) does."""
    try:
        call("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())
    except OSError as error:
        raise Refusal(f"cannot mount {kind or source} on {target}: {error.strerror}") from None


def start_time(pid: int) -> int:
    """Return field 22 of /proc/PID/stat (proc(5)): ticks since boot, unlike a pid never reused."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        # The name in field 2 may hold spaces and parentheses: count from the last one.
        return int(stream.read().rpartition(")")[2].split()[19])


# --- the child that becomes bwrap -------------------------------------------------------


def become_bwrap(order: Order, fds: dict[str, int]) -> None:
    """Leave the daemon's world and turn into bwrap; only returns by raising."""
    os.setsid()
    for signum in (SIGPIPE, SIGXFSZ):  # Python ignores them, and that would be inherited
        _libc.signal(signum, None)
    _libc.sigprocmask(SIG_SETMASK, ctypes.create_string_buffer(128), None)
    for directory in order["cgroups"]:
        write_text(f"{directory}/cgroup.procs", "0")
    try:
        write_text("/proc/self/oom_score_adj", "500")
    except OSError:
        pass  # A container engine may forbid it; then the kernel's own choice stands.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(order["log"], flags, 0o600)
    places = stage(order) if order["uid"] is not None else {}
    words = [resolve(item, places, fds) for item in order["options"]]
    fds["args"] = memory_file(("\0".join(words) + "\0").encode())
    if order["uid"] is not None:
        os.setgroups([])
        os.setresgid(order["gid"], order["gid"], order["gid"])
        os.setresuid(order["uid"], order["uid"], order["uid"])
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for fd in fds.values():
        os.set_inheritable(fd, True)
    os.umask(0o022)
    os.execve(
        order["bwrap"],
        ["bwrap", "--args", str(fds["args"]), "--", *order["argv"]],
        {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )


def stage(order: Order) -> dict[str, str]:
    """Show, in a mount namespace of our own, each source at a path that the agent's uid can reach.

    The daemon's directories are closed to agents, and bwrap runs as the agent.
    """
    call("unshare", CLONE_NEWNS)
    # Slave: what the host unmounts later must not be kept busy by us.
    mount("none", "/", "", MS_REC | MS_SLAVE)
    sources = {item["source"] for item in order["options"] if "source" in item}
    opened = {source: os.open(source, os.O_PATH) for source in sources}
    overlay = order["overlay"]
    lowers = [os.open(path, os.O_PATH) for path in overlay["lowers"]] if overlay else []
    top = os.open(overlay["top"], os.O_PATH) if overlay else -1
    mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    places: dict[str, str] = {}
    for number, (source, fd) in enumerate(sorted(opened.items())):
        place = f"{STAGE}/{number}"
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.mkdir(place)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
        mount(f"/proc/self/fd/{fd}", place, "", MS_BIND | MS_REC)
        os.close(fd)
        places[source] = place
    if overlay:
        places["@root"] = f"{STAGE}/root"
        os.mkdir(places["@root"])
        # By descriptor: a path may hold the commas and colons that separate options, and many
        # long ones are more than the one page that mount(2) takes.
        names = ":".join(f"/proc/self/fd/{fd}" for fd in lowers)
        upper, work = (f"/proc/self/fd/{top}/{overlay[name]}" for name in ("upper", "work"))
        options = f"lowerdir={names},upperdir={upper},workdir={work}"
        mount("overlay", places["@root"], "overlay", MS_NOSUID | MS_NODEV, options)
        for fd in (*lowers, top):
            os.close(fd)
    return places


def resolve(item: Any, places: dict[str, str], fds: dict[str, int]) -> str:
    """Turn one option of the order into a word for bwrap."""
    if isinstance(item, str):
        return item
    if "source" in item:
        source: str = item["source"]
        return places.get(source, source)
    if "text" in item:
        fd = memory_file(item["text"].encode())
        fds[f"text{fd}"] = fd
        return str(fd)
    if "root" in item:
        return places["@root"]
    return str(fds[item["fd"]])


def memory_file(content: bytes) -> int:
    """Return a descriptor at the start of a file in memory."""
    fd = os.memfd_create("order")
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


# --- the launcher itself ----------------------------------------------------------------


def launch(order: Order) -> tuple[int, int]:
    """Start the sandbox and return its pid 1 and start time; the payload runs then."""
    fds = {
        "seccomp": memory_file(order["seccomp"]),
        "status": os.open(order["status"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    }
    info, fds["info"] = os.pipe()
    go, say_go = os.pipe()
    trouble, say_trouble = os.pipe()
    release, held = _socket.socketpair()
    fds["block"] = held.fileno()
    child = os.fork()
    if child == 0:
        try:
            for fd in (info, say_go, trouble, release.fileno(), *order["private_fds"]):
                os.close(fd)
            # Nothing to read: the launcher was killed, and nobody could find us again.
            if os.read(go, 1):
                become_bwrap(order, fds)
        except (OSError, Refusal) as error:
            os.write(say_trouble, str(error).encode())
        finally:
            os._exit(1)
    for fd in (fds["seccomp"], fds["status"], fds["info"], go, say_trouble):
        os.close(fd)
    held.close()
    watcher = (child, start_time(child))
    # Written before the child does anything: whatever happens now, it can be found again.
    write_record(order, *watcher, 0, 0)
    os.write(say_go, b"g")
    os.close(say_go)
    failure = read_all(trouble)
    said = b"" if failure else read_all(info)
    if not said:
        os.waitpid(child, 0)
        raise Refusal(failure.decode(errors="replace") or "bwrap ended at once")
    # {"child-pid": N, ...}, bwrap's own words about its child.
    pid = int(said.partition(b'"child-pid":')[2].replace(b"\n", b",").partition(b",")[0])
    try:
        begin = start_time(pid)
        write_record(order, *watcher, pid, begin)
        finish(order, pid, release)
    except ConnectionResetError:
        # Nobody read our byte: the set-up failed before the payload's turn.
        os.waitpid(child, 0)
        raise Refusal("bwrap could not set up the sandbox") from None
    except (OSError, Refusal):
        # Before we close our end, which would let the payload go.
        try:
            os.kill(pid, SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)
        raise
    return pid, begin


def finish(order: Order, pid: int, release: _socket.socket) -> None:
    """Give the sandbox its limits and listeners, and let the payload go."""
    limit_processes(order, pid)
    if order["ports"]:
        listeners = open_ports(pid, order["ports"])
        send_fds(order["private_fds"][0], listeners)
    release.send(b"g")
    # The end of the stream: the byte was read and the last reader has closed. Had the set-up
    # failed instead, the byte would lie there unread, which is a reset connection (unix(7)).
    release.recv(1)


def limit_processes(order: Order, pid: int) -> None:
    """Limit the processes of the sandbox also where no cgroup is writable.

    RLIMIT_NPROC counts inside the new user namespace alone (Linux 5.14). The real
    ids are made to agree, or prlimit(2) would want CAP_SYS_RESOURCE, which a container's
    root may lack.
    """
    if order["uid"] is not None:
        os.setresgid(order["gid"], -1, -1)
        os.setresuid(order["uid"], -1, -1)
    resource.prlimit(pid, resource.RLIMIT_NPROC, (order["processes"], order["processes"]))
    if order["uid"] is not None:
        os.setresuid(0, -1, -1)
        os.setresgid(0, -1, -1)


def open_ports(pid: int, ports: tuple[int, ...]) -> list[int]:
    """Return listeners on the loopback of *pid*'s network namespace, made by a child that joins it.

    A joined namespace cannot be left, hence the child; the sockets come back by SCM_RIGHTS.
    """
    here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            listeners = listen_inside(pid, ports)
            send_fds(there.fileno(), [listener.fileno() for listener in listeners])
        except OSError as error:
            there.send(str(error).encode())
        finally:
            os._exit(0)
    there.close()
    size = 4 * len(ports)
    said, ancillary, _, _ = here.recvmsg(4096, _socket.CMSG_SPACE(size))
    os.waitpid(child, 0)
    if said != b"ok":
        raise Refusal(f"cannot open a port inside: {said.decode(errors='replace')}")
    data = ancillary[0][2]
    return [int.from_bytes(data[i : i + 4], sys.byteorder) for i in range(0, len(data), 4)]


def listen_inside(pid: int, ports: tuple[int, ...]) -> list[_socket.socket]:
    """Join the network namespace of *pid* and listen there."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if os.geteuid() != 0:
        # The owner of the namespace, not the innermost user namespace of the payload:
        # only in the former do we, who created it, have the capability to join.
        call("setns", fcntl.ioctl(network, NS_GET_USERNS), CLONE_NEWUSER)
    call("setns", network, CLONE_NEWNET)
    listeners: list[_socket.socket] = []
    for port in ports:
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        # The loopback interface may not be up yet: bwrap brings it up while we bind.
        listener.setsockopt(_socket.IPPROTO_IP, IP_FREEBIND, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        listeners.append(listener)
    return listeners


def send_fds(sock: int, fds: list[int]) -> None:
    """Send descriptors over a unix socket (unix(7), SCM_RIGHTS)."""
    data = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    peer = _socket.socket(fileno=sock)
    peer.sendmsg([b"ok"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])
    peer.detach()


def write_record(order: Order, *numbers: int) -> None:
    """Replace the record of this start; a reader sees the old one or the new one."""
    new = order["record"] + ".new"
    write_text(new, f"{order['facts']}\n{' '.join(map(str, numbers))}\n")
    os.replace(new, order["record"])


def write_text(path: str, text: str) -> None:
    """Write *text* to a file."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def read_all(fd: int) -> bytes:
    """Read until every writer has closed, and close."""
    with open(fd, "rb") as stream:
        return stream.read()


def main() -> None:
    """Carry out the order in the file descriptor that argv names."""
    order = marshal.loads(read_all(int(sys.argv[1])))  # noqa: S302 - written by the daemon
    try:
        pid, begin = launch(order)
        sys.stdout.write(f"ok {pid} {begin}")
    except (OSError, Refusal) as error:
        sys.stdout.write(f"error {error}")


if __name__ == "__main__":
    main()
