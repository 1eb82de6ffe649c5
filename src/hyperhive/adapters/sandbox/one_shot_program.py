"""Runs one command in a throw-away sandbox: ``python3 -I -S one_shot_program.py FD``.

FD holds an order (`orders.OneShotOrder`). Unlike the `launcher` this program stays until the
command has ended. It makes an outer pid namespace whose first process becomes bwrap(1): when
that one dies, for whatever reason, the kernel ends every process below before it is gone
(pid_namespaces(7)), also those of a set-up that was killed half-way. It dies with this
program, and this program with the daemon (prctl(2), PR_SET_PDEATHSIG).

On the status pipe it says ``pid START`` and what bwrap says (--json-status-fd), or ``error
REASON``, or ``overflow``. It imports nothing of ours and little else (see `launcher`).
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import struct
import sys

TYPE_CHECKING = False  # as in `typing`, whose import would cost 10 ms
if TYPE_CHECKING:
    from typing import Any

    Order = dict[str, Any]  # an `orders.OneShotOrder`
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 0x1000, 0x4000, 1 << 19
PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 1, 28, 38
SECBIT_NO_SETUID_FIXUP = 4  # linux/securebits.h
SIGKILL, SIGPIPE, SIGXFSZ, SIG_SETMASK = 9, 13, 25, 2
# The newer calls have one number on every machine (asm-generic/unistd.h).
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, AT_EMPTY_PATH, MOVE_MOUNT_F_EMPTY_PATH = 1, 0x1000, 4
MOUNT_ATTR_IDMAP = 0x00100000
STAGE = "/tmp"
"""Where the private view is mounted; exists on every host and is open to every uid."""
BLOCK = 65536

_libc = ctypes.CDLL(None, use_errno=True)


class Refusal(Exception):
    """A step that the host refused, in words for the operator."""


def call(name: str, *arguments: Any) -> int:
    """Call a libc function that answers -1 on failure."""
    answer: int = getattr(_libc, name)(*arguments)
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return answer


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount, as mount(2) does."""
    try:
        call("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())
    except OSError as error:
        raise Refusal(f"cannot mount {kind or source} on {target}: {error.strerror}") from None


def start_time(pid: int) -> int:
    """Return field 22 of /proc/PID/stat (proc(5)): ticks since boot, unlike a pid never reused."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return int(stream.read().rpartition(")")[2].split()[19])


def write_text(path: str, text: str) -> None:
    """Write *text* to a file."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def memory_file(content: bytes) -> int:
    """Return a descriptor at the start of a file in memory."""
    fd = os.memfd_create("order")
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write every byte."""
    while data:
        data = data[os.write(fd, data) :]


# --- user namespaces --------------------------------------------------------------------


def mapped_namespace(first: int, count: int) -> int:
    """Return a user namespace in which 0 to *count* - 1 are the host's ids from *first* on."""
    ready, say_ready = os.pipe()
    done, say_done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(say_done)
        try:
            call("unshare", CLONE_NEWUSER)
            os.write(say_ready, b"g")
            os.read(done, 1)
        finally:
            os._exit(0)
    os.close(say_ready)
    os.close(done)
    try:
        if not os.read(ready, 1):
            raise Refusal("this host refuses user namespaces")
        for name in ("uid_map", "gid_map"):
            write_text(f"/proc/{child}/{name}", f"0 {first} {count}")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    finally:
        os.close(ready)
        os.close(say_done)
        os.waitpid(child, 0)


def enter_own_namespaces(order: Order) -> bool:
    """Without privileges: make a user namespace, and let the next child begin a pid namespace.

    Whether it worked: where a security module reserves that for programs with a profile
    (bwrap has one, we do not), the command runs without an outer pid namespace.
    """
    uid, gid = os.getuid(), os.getgid()
    inner = 0 if order["as_root"] else uid
    try:
        call("unshare", CLONE_NEWUSER | CLONE_NEWPID)
        write_text("/proc/self/setgroups", "deny")
        write_text("/proc/self/uid_map", f"{inner} {uid} 1")
        write_text("/proc/self/gid_map", f"{0 if order['as_root'] else gid} {gid} 1")
    except OSError as error:
        if order["overlay"] is not None:
            raise Refusal(
                f"an ordinary user cannot mount layers on this host ({error.strerror})"
            ) from None
        return False
    return True


# --- the view ---------------------------------------------------------------------------


def attach(fd: int, place: str, namespace: int) -> None:
    """Show the open directory or file *fd* at *place*, its ids seen through *namespace* unless -1.

    See mount_setattr(2), MOUNT_ATTR_IDMAP: what is root's on disk is then the first id of
    the namespace, and what that one writes is root's on disk.
    """
    if namespace < 0:
        mount(f"/proc/self/fd/{fd}", place, "", MS_BIND | MS_REC)
        return
    attributes = ctypes.create_string_buffer(
        struct.pack("=QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
    )
    try:
        tree = call("syscall", SYS_OPEN_TREE, fd, b"", AT_EMPTY_PATH | OPEN_TREE_CLONE)
        call("syscall", SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, 32)
        call("syscall", SYS_MOVE_MOUNT, tree, b"", -100, place.encode(), MOVE_MOUNT_F_EMPTY_PATH)
        os.close(tree)
    except OSError as error:
        raise Refusal(
            f"cannot show {os.readlink(f'/proc/self/fd/{fd}')} under other ids: {error.strerror}; "
            "idmapped mounts need Linux 5.19 and a file system like ext4, xfs or btrfs"
        ) from None


def make_place(place: str, fd: int) -> None:
    """Make the mount point that *fd* needs."""
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))


def stage(order: Order, namespace: int) -> dict[str, str]:
    """Show each source, and the layers as one root, where the command's uid can reach them."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_SLAVE)
    wanted: dict[str, bool] = {}
    for item in order["options"]:
        if isinstance(item, dict) and "source" in item:
            wanted[item["source"]] = wanted.get(item["source"], False) or "writable" in item
    opened = {source: os.open(source, os.O_PATH) for source in wanted}
    overlay = order["overlay"]
    lowers = [os.open(path, os.O_PATH) for path in overlay["lowers"]] if overlay else []
    top = os.open(overlay["top"], os.O_PATH) if overlay and overlay["top"] else -1
    mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    places: dict[str, str] = {}
    for number, (source, fd) in enumerate(sorted(opened.items())):
        place = places[source] = f"{STAGE}/{number}"
        make_place(place, fd)
        attach(fd, place, namespace if wanted[source] else -1)
        os.close(fd)
    if not overlay:
        return places
    shown = namespace if order["as_root"] else -1
    names: list[str] = []
    for number, fd in enumerate(lowers):
        names.append(f"{STAGE}/l{number}")
        os.mkdir(names[-1])
        attach(fd, names[-1], shown)
        os.close(fd)
    options = f"lowerdir={':'.join(names)}"
    if top >= 0:
        os.mkdir(f"{STAGE}/t")
        attach(top, f"{STAGE}/t", shown)
        os.close(top)
        upper, work = overlay["upper"], overlay["work"]
        options += f",upperdir={STAGE}/t/{upper},workdir={STAGE}/t/{work}"
    # Plain layers, which can be moved, merged and lie below others: no renames by reference.
    options += ",userxattr" if order["ordinary"] else ",redirect_dir=off,metacopy=off"
    places["@root"] = f"{STAGE}/root"
    os.mkdir(places["@root"])
    flags = MS_NOSUID | MS_NODEV | (MS_RDONLY if top < 0 else 0)
    if shown >= 0:
        # The overlay makes files of its own as the one who mounts it, with all capabilities; an
        # id that the mapping does not hold could make none.
        call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        first: int = order["range"][0]
        _libc.setfsgid(first)
        _libc.setfsuid(first)
    mount("overlay", places["@root"], "overlay", flags, options)
    if shown >= 0:
        _libc.setfsuid(0)
        _libc.setfsgid(0)
        call("prctl", PR_SET_SECUREBITS, 0, 0, 0, 0)
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


# --- the child that becomes bwrap -------------------------------------------------------


def become_bwrap(order: Order, fds: dict[str, int], leash: int, namespace: int) -> None:
    """Turn into bwrap; only returns by raising."""
    for signum in (SIGPIPE, SIGXFSZ):  # Python ignores them, and that would be inherited
        _libc.signal(signum, None)
    _libc.sigprocmask(SIG_SETMASK, ctypes.create_string_buffer(128), None)
    for directory in order["cgroups"]:
        write_text(f"{directory}/cgroup.procs", "0")
    try:
        write_text("/proc/self/oom_score_adj", "500")
    except OSError:
        pass  # A container engine may forbid it; then the kernel's own choice stands.
    staged = not order["ordinary"] or order["overlay"] is not None
    places = stage(order, namespace) if staged else {}
    words = [resolve(item, places, fds) for item in order["options"]]
    fds["args"] = memory_file(("\0".join(words) + "\0").encode())
    if not order["ordinary"]:
        uid = order["uid"]
        if order["as_root"]:
            call("setns", namespace, CLONE_NEWUSER)
            uid = 0
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for name, value in order["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # After the last change of ids, which would reset it; then: is there still somebody?
    call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    os.set_blocking(leash, False)
    try:
        if not os.read(leash, 1):
            os._exit(1)
    except BlockingIOError:
        pass
    for fd in (*fds.values(), *order["pass_fds"]):
        os.set_inheritable(fd, True)
    os.umask(0o022)
    os.execve(
        order["bwrap"],
        ["bwrap", "--args", str(fds["args"]), "--", *order["argv"]],
        {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )


def feed(source: int) -> tuple[int, int]:
    """Return a pipe that a child fills from *source*, and that child.

    The command gets no descriptor of the file itself: it could be opened anew for writing.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            os.close(read_end)
            while block := os.read(source, BLOCK):
                write_all(write_end, block)
        except OSError:
            pass  # The command does not read to the end, which is its own affair.
        finally:
            os._exit(0)
    os.close(write_end)
    os.close(source)
    return read_end, child


def run(order: Order) -> int:
    """Run the command to its end and return what bwrap returned."""
    status: int = order["status"]
    feeder = 0
    if order["stdin"] >= 0:
        source, feeder = feed(order["stdin"])
        os.dup2(source, 0)
    fds = {"seccomp": memory_file(order["seccomp"]), "status": status}
    namespace = -1
    if order["ordinary"]:
        outer = enter_own_namespaces(order)
        if not outer:
            # Would count all that this user runs on the host.
            del order["rlimits"]["RLIMIT_NPROC"]
    else:
        if order["range"] is not None:
            namespace = mapped_namespace(*order["range"])
        call("unshare", CLONE_NEWPID)
        outer = True
    leash, hold = os.pipe()
    output, out = os.pipe() if order["stdout"] >= 0 else (-1, -1)
    child = os.fork()
    if child == 0:
        try:
            os.close(hold)
            # Nothing to read: this program was killed before it could say who we are.
            if os.read(leash, 1):
                if out >= 0:
                    os.dup2(out, 1)
                become_bwrap(order, fds, leash, namespace)
        except (OSError, Refusal) as error:
            os.write(status, f"error {error}\n".encode())
        finally:
            os._exit(1)
    os.close(leash)
    os.write(status, f"pid {child} {start_time(child)} {int(outer)}\n".encode())
    os.write(hold, b"g")
    if out >= 0:
        os.close(out)
        pump(output, order, child)
    _, ended = os.waitpid(child, 0)
    if feeder:
        os.kill(feeder, SIGKILL)
    code = os.waitstatus_to_exitcode(ended)
    return code if code >= 0 else 128 - code


def pump(source: int, order: Order, child: int) -> None:
    """Write what the command says to its file; too much ends it."""
    room: int = order["output_limit"]
    while block := os.read(source, BLOCK):
        room -= len(block)
        if room < 0:
            os.write(order["status"], b"overflow\n")
            os.kill(child, SIGKILL)
            return
        write_all(order["stdout"], block)


def main() -> int:
    """Carry out the order in the file descriptor that argv names."""
    with open(int(sys.argv[1]), "rb") as stream:
        order = marshal.load(stream)  # noqa: S302 - written by the daemon
    for fd in (order["status"], order["stdin"], order["stdout"], *order["pass_fds"]):
        if fd >= 0:
            os.set_inheritable(fd, False)
    call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != order["parent"]:
        return 1
    try:
        return run(order)
    except (OSError, Refusal) as error:
        os.write(order["status"], f"error {error}\n".encode())
        return 1


if __name__ == "__main__":
    sys.exit(main())
