"""Looks around in a sandbox and tries what is forbidden; writes what it found as JSON.

Its text is the payload's program: ``python3 -c TEXT REPORT PORT PATH...``. Standard library only.
"""

import ctypes
import errno
import json
import os
import pathlib
import platform
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
NUMBERS = {
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "ptrace": (101, 117),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "perf_event_open": (298, 241),
    "process_vm_writev": (311, 271), "kexec_load": (246, 104), "init_module": (175, 105),
    "pivot_root": (155, 41), "chroot": (161, 51), "swapon": (167, 224), "reboot": (169, 142),
    "open_by_handle_at": (304, 265), "fsopen": (430, 430), "open_tree": (428, 428),
    "move_mount": (429, 429), "fanotify_init": (300, 262), "pidfd_getfd": (438, 438),
    "quotactl": (179, 60), "acct": (163, 89), "syslog": (103, 116), "clone3": (435, 435),
    "beyond_the_table": (1999, 1999),
}  # fmt: skip


def call(name):
    """Make a system call with arguments of zero and name its error."""
    ctypes.set_errno(0)
    number = NUMBERS[name][0 if X86 else 1]
    result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    return "worked" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def attempt(action):
    """Do something and name how it went."""
    try:
        return repr(action())
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def new_user_namespace_by_clone():
    """Ask clone(2) for a user namespace, as raw as it gets."""
    flags = 0x10000000 | 17
    pid = libc.syscall(56 if X86 else 220, flags, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return "worked" if pid > 0 else errno.errorcode[ctypes.get_errno()]


def push_input():
    """Push a character into a terminal's input (TIOCSTI)."""
    leader, follower = os.openpty()
    ctypes.set_errno(0)
    libc.ioctl(follower, 0x5412, ctypes.create_string_buffer(b"x"))
    del leader
    return errno.errorcode.get(ctypes.get_errno(), "worked")


def peek(path):
    """Read one byte."""
    with open(path, "rb") as stream:
        return stream.read(1)


def connect(address):
    """Connect by TCP."""
    with socket.socket() as peer:
        peer.settimeout(3)
        return peer.connect(address)


def main():
    """Write the report to argv[1]; argv[2] is a port of the host, the rest are paths of it."""
    status = pathlib.Path("/proc/self/status").read_text()
    report = {
        "status": dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line),
        "calls": {name: call(name) for name in NUMBERS},
        "clone_newuser": new_user_namespace_by_clone(),
        "tiocsti": push_input(),
        "sockets": {
            name: attempt(lambda family=family, kind=kind: socket.socket(family, kind).close())
            for name, family, kind in (
                ("unix", 1, 1), ("inet", 2, 1), ("inet6", 10, 1), ("netlink", 16, 3),
                ("packet", 17, 3), ("alg", 38, 5), ("vsock", 40, 1),
            )
        },
        "raw_socket": attempt(lambda: socket.socket(2, 3, 1)),
        "host_port": attempt(lambda: connect(("127.0.0.1", int(sys.argv[2])))),
        "metadata": attempt(lambda: connect(("169.254.169.254", 80))),
        "outside": attempt(lambda: connect(("192.0.2.1", 80))),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "seen": {path: attempt(lambda path=path: os.listdir(path)) for path in sys.argv[3:]},
        "write": {
            path: attempt(lambda path=path: pathlib.Path(path, "mine").write_text("x"))
            for path in ("/", "/etc", "/usr", "/usr/bin", "/dev", "/proc/sys/kernel", "/state",
                         "/tmp", "/var/tmp", "/dev/shm")
        },
        "pid1": {
            path: attempt(lambda path=path: peek(path) and None)
            for path in ("/proc/1/mem", "/proc/1/task/1/mem", "/proc/1/environ", "/proc/1/root")
        },
        "kernel": {
            path: attempt(lambda path=path: peek(path))
            for path in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/kallsyms")
        },
        "environment": dict(os.environ),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "hostname": socket.gethostname(),
        "ids": [os.getuid(), os.getgid(), os.getgroups()],
        "uid_map": pathlib.Path("/proc/self/uid_map").read_text().split(),
        "shadow": attempt(lambda: peek("/etc/shadow")),
    }  # fmt: skip
    pathlib.Path(sys.argv[1]).write_text(json.dumps(report))


main()
