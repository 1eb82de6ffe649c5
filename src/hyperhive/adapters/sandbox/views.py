"""What a sandbox sees: its root file system, /proc, /dev, and who it is.

Three roots: the base root under an overlay, the base root read-only, or a
read-only view of the host's /usr on an empty root with an /etc of our own.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import orders
from hyperhive.domain import errors

MOUNT_POINTS: Final = ("/state", "/run/hive", "/opt/hive", "/agents", "/applied", "/meta")
"""Made when the base root is built: on a read-only root nobody can make them later."""
LOOSE: Final = ("/tmp", "/run", "/var/tmp", "/dev/shm")
"""Private and in memory: below these bwrap makes mount points itself."""
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"

_SCRATCH: Final = 1024 * 1024 * 1024
_RUN: Final = 16 * 1024 * 1024
_MASKED_FILES: Final = (
    "kcore", "keys", "key-users", "kallsyms", "kmsg", "kpagecount", "kpageflags", "kpagecgroup",
    "latency_stats", "timer_list", "timer_stats", "sched_debug", "sysrq-trigger", "interrupts",
    "iomem", "ioports", "config.gz",
)  # fmt: skip
_MASKED_DIRECTORIES: Final = ("acpi", "asound", "scsi", "driver", "mtrr", "bus", "irq", "fs")
_HOST_ETC: Final = (
    "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust",
    "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "services",
    "protocols", "debian_version", "os-release", "terminfo", "mime.types", "java-17-openjdk",
    "python3", "python3.11", "python3.12", "python3.13", "perl",
)  # fmt: skip
"""Of the host's /etc only what programs need and what holds no secret."""
_HOST_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A root to run on. ``base`` is None for the view of the host."""

    base: pathlib.Path | None
    overlay: bool

    @property
    def text(self) -> str:
        """How `hive doctor` calls it."""
        if self.base is None:
            return "read-only view of the host's /usr"
        return "base root with an overlay" if self.overlay else "base root, read-only"


def options(view: View, spec: ports.SandboxSpec) -> list[orders.Option]:
    """Return bwrap's options for *spec* on *view*, in the order in which they take effect."""
    return [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts",
        "--unshare-cgroup-try", "--new-session", "--cap-drop", "ALL",
        "--uid", str(spec.uid), "--gid", str(spec.uid), "--hostname", spec.name,
        "--seccomp", {"fd": "seccomp"},
        "--json-status-fd", {"fd": "status"},
        "--info-fd", {"fd": "info"},
        "--block-fd", {"fd": "block"},
        *inside(view, spec, identity(spec)),
    ]  # fmt: skip


def inside(view: View, spec: ports.SandboxSpec, files: Mapping[str, str]) -> list[orders.Option]:
    """Return the part of the options that says what is seen, with *files* by their content."""
    return [
        "--clearenv", *_environment(spec),
        *_root(view), *_texts(files), *_kernel(),
        *_scratch(),
        *_binds(view, spec),
        *(("--remount-ro", "/") if view.base is None else ()),
        "--chdir", spec.cwd,
    ]  # fmt: skip


def upper_places(spec: ports.SandboxSpec) -> tuple[list[str], list[str]]:
    """Return the directories and the files that an overlay needs as mount points of *spec*."""
    bound = [bind for bind in spec.binds if not _is_loose(bind.target)]
    directories = [bind.target for bind in bound if bind.source.is_dir()]
    return directories, [bind.target for bind in bound if not bind.source.is_dir()]


def environment(spec: ports.SandboxSpec) -> dict[str, str]:
    """Return what the payload's environment is: a path and a locale, unless *spec* says other."""
    return {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", **spec.env}


def _environment(spec: ports.SandboxSpec) -> list[orders.Option]:
    words: list[orders.Option] = []
    for name, value in environment(spec).items():
        words += ["--setenv", name, value]
    return words


def _root(view: View) -> list[orders.Option]:
    if view.base is not None:
        if view.overlay:
            return ["--bind", {"root": True}, "/"]
        return ["--ro-bind", {"source": str(view.base)}, "/"]
    words: list[orders.Option] = ["--ro-bind", {"source": "/usr"}, "/usr"]
    words += ["--perms", "0755", "--dir", "/etc", "--perms", "0755", "--dir", "/var"]
    for name in _HOST_LINKS:
        path = pathlib.Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", {"source": str(path)}, str(path)]
    for name in _HOST_ETC:
        path = pathlib.Path("/etc", name)
        if path.exists():
            words += ["--ro-bind", {"source": str(path)}, str(path)]
    words += ["--dir", "/var/tmp"]
    nsswitch = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
    return [*words, "--perms", "0644", "--ro-bind-data", {"text": nsswitch}, "/etc/nsswitch.conf"]


def identity(spec: ports.SandboxSpec) -> dict[str, str]:
    """Return the files of /etc that say who and where the payload is, by their content."""
    home = spec.env.get("HOME", "/")
    return {
        "/etc/passwd": (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"agent:x:{spec.uid}:{spec.uid}:{spec.name}:{home}:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        ),
        "/etc/group": f"root:x:0:\nagent:x:{spec.uid}:\nnogroup:x:65534:\n",
        "/etc/hosts": f"127.0.0.1 localhost {spec.name}\n::1 localhost\n",
        "/etc/hostname": f"{spec.name}\n",
        # No resolver: names are resolved by the egress proxy, outside.
        "/etc/resolv.conf": "",
    }


def _texts(files: Mapping[str, str]) -> list[orders.Option]:
    words: list[orders.Option] = []
    for target, text in files.items():
        # Other uids of the same sandbox look up names too.
        words += ["--perms", "0644", "--ro-bind-data", {"text": text}, target]
    return words


def _kernel() -> list[orders.Option]:
    words: list[orders.Option] = ["--proc", "/proc"]
    for name in _MASKED_FILES:
        if pathlib.Path("/proc", name).is_file():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in _MASKED_DIRECTORIES:
        if pathlib.Path("/proc", name).is_dir():
            words += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return [
        *words,
        # Pid 1 is bwrap's init: same uid, but outside of the system call filter. Whoever could
        # write its memory would be rid of the filter.
        "--tmpfs", "/proc/1", "--remount-ro", "/proc/1",
        "--dev", "/dev",
        "--perms", "1777", "--size", str(_SCRATCH), "--tmpfs", "/dev/shm",
        "--remount-ro", "/dev",
    ]  # fmt: skip


def _scratch() -> list[orders.Option]:
    words: list[orders.Option] = []
    for target, size in (("/tmp", _SCRATCH), ("/var/tmp", _SCRATCH)):
        words += ["--perms", "1777", "--size", str(size), "--tmpfs", target]
    return [*words, "--perms", "0755", "--size", str(_RUN), "--tmpfs", "/run"]


def _binds(view: View, spec: ports.SandboxSpec) -> list[orders.Option]:
    words: list[orders.Option] = []
    shelves = _shelves(view, spec)
    for shelf in shelves:
        words += ["--perms", "0755", "--size", str(_RUN), "--tmpfs", shelf]
    for bind in spec.binds:
        if not bind.target.startswith("/"):
            raise errors.invalid(f"cannot bind {bind.source} to {bind.target!r}: not absolute")
        if not bind.source.exists():
            raise errors.unavailable(f"cannot bind {bind.source}: it does not exist")
        if view.base is not None and not view.overlay and not _can_hold(view.base, bind, spec):
            raise errors.unavailable(
                f"cannot bind {bind.source} to {bind.target}: the read-only base root has no such "
                f"mount point; use one below {', '.join((*MOUNT_POINTS, *LOOSE))}"
            )
        flag = "--bind" if bind.writable else "--ro-bind"
        source: dict[str, str | bool] = {"source": str(bind.source)}
        words += [flag, source | ({"writable": True} if bind.writable else {}), bind.target]
    for shelf in shelves:
        words += ["--remount-ro", shelf]
    return words


def _shelves(view: View, spec: ports.SandboxSpec) -> list[str]:
    """Mount points of a read-only base below which something is bound: nobody can make a
    place in them, so each becomes a directory in memory first."""
    if view.base is None or view.overlay:
        return []
    targets = {bind.target for bind in spec.binds}
    return [
        place
        for place in MOUNT_POINTS
        if place not in targets
        and not _is_loose(place)
        and any(pathlib.PurePath(target).is_relative_to(place) for target in targets)
    ]


def _is_loose(target: str) -> bool:
    return any(pathlib.PurePath(target).is_relative_to(place) for place in LOOSE)


def _can_hold(base: pathlib.Path, bind: ports.Bind, spec: ports.SandboxSpec) -> bool:
    target = pathlib.PurePath(bind.target)
    below = [other.target for other in spec.binds if other is not bind]
    places = (*LOOSE, *MOUNT_POINTS, *below)
    if any(target.is_relative_to(other) for other in places):
        return True
    return (base / bind.target.lstrip("/")).exists()
