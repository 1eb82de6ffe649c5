"""What this host can do for sandboxes, found out by trying; each finding says how to mend it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from hyperhive import ports
from hyperhive.adapters.sandbox import base_root, cgroups, programs
from hyperhive.domain import errors, ids

if TYPE_CHECKING:
    from hyperhive.adapters.sandbox import bubblewrap

MINIMUM_KERNEL: Final = (5, 10)
_PROBE_UID: Final = 65534
APPARMOR_REMEDY: Final = (
    "as root run: printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\n"
    "profile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n}\\n' "
    "> /etc/apparmor.d/bwrap && apparmor_parser -r /etc/apparmor.d/bwrap"
)
_OVERLAY_TRIAL: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
top = sys.argv[1]
for name in ("lower", "upper", "work", "root"):
    os.mkdir(os.path.join(top, name))
options = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(top).encode()
root = os.path.join(top, "root").encode()
if libc.unshare(0x20000) or libc.mount(b"none", b"/", None, 0x4000 | 1 << 19, None):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
if libc.mount(b"overlay", root, b"overlay", 6, options):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
"""

OK, NOTICE, BROKEN = ports.Severity.OK, ports.Severity.NOTICE, ports.Severity.BROKEN


async def look(
    sandbox: bubblewrap.BubblewrapSandbox,
    processes: ports.Processes,
    clock: ports.Clock,
    base: base_root.BaseRoot,
    limits: cgroups.Cgroups,
) -> list[ports.Finding]:
    """Return all findings, the most basic first."""
    found = [_kernel(), await _bubblewrap(sandbox, processes)]
    if found[-1].severity is not BROKEN:
        found.append(await _user_namespaces(sandbox, processes))
    if not any(finding.severity is BROKEN for finding in found):
        found += await _trial(sandbox, clock, base)
    return [*found, _cgroups(limits), *await _root(sandbox, base), _identity()]


async def try_overlay(processes: ports.Processes, near: pathlib.Path) -> bool:
    """Whether an overlay can be mounted in the file system of *near*, by mounting one."""
    async with _scratch(near) as top:
        result = await processes.run([sys.executable, "-I", "-S", "-c", _OVERLAY_TRIAL, str(top)])
    return result.code == 0


def _kernel() -> ports.Finding:
    release = platform.release()
    version = tuple(int(word) for word in re.findall(r"\d+", release)[:2])
    if version < MINIMUM_KERNEL:
        text = f"Linux {release} is older than {'.'.join(map(str, MINIMUM_KERNEL))}"
        return ports.Finding("kernel", BROKEN, text, "use a newer kernel")
    return ports.Finding("kernel", OK, f"Linux {release}, {platform.machine()}")


async def _bubblewrap(
    sandbox: bubblewrap.BubblewrapSandbox, processes: ports.Processes
) -> ports.Finding:
    try:
        path = programs.find_bwrap()
        said = (await processes.run([path, "--version"])).stdout.decode("utf-8", "replace").strip()
    except errors.HiveError as error:
        return ports.Finding("bubblewrap", BROKEN, error.message, programs.INSTALL)
    version = tuple(int(word) for word in re.findall(r"\d+", said)[:2])
    if version < programs.MINIMUM_VERSION:
        wanted = ".".join(map(str, programs.MINIMUM_VERSION))
        text = f"{said} at {path} is older than {wanted}"
        return ports.Finding("bubblewrap", BROKEN, text, "use Debian 12, Ubuntu 24.04 or newer")
    return ports.Finding("bubblewrap", OK, f"{said} at {path}")


async def _user_namespaces(
    sandbox: bubblewrap.BubblewrapSandbox, processes: ports.Processes
) -> ports.Finding:
    """Try them as agents need them: without privileges, also when we are root."""
    drop = ["setpriv", f"--reuid={_PROBE_UID}", f"--regid={_PROBE_UID}", "--clear-groups"]
    command = [programs.find_bwrap(), "--unshare-user", "--unshare-pid", "--unshare-net",
               "--ro-bind", "/", "/", "--proc", "/proc", "/bin/true"]  # fmt: skip
    result = await processes.run([*(drop if os.geteuid() == 0 else []), *command])
    if result.code == 0:
        return ports.Finding("user namespaces", OK, "an ordinary user can make them")
    said = result.stderr.decode("utf-8", "replace").strip()
    return ports.Finding("user namespaces", BROKEN, f"refused: {said}", userns_remedy(said))


def userns_remedy(said: str) -> str:
    """Return what mends the refusal that bwrap reported as *said*."""
    if read_sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return f"AppArmor restricts them to programs with a profile; {APPARMOR_REMEDY}"
    if read_sysctl("kernel/unprivileged_userns_clone") == "0":
        return "as root run: sysctl -w kernel.unprivileged_userns_clone=1"
    if read_sysctl("user/max_user_namespaces") == "0" or "No space left" in said:
        return "as root run: sysctl -w user.max_user_namespaces=15000"
    if pathlib.Path("/.dockerenv").exists() or "proc" in said:
        return (
            "in a container run it with: docker run --security-opt seccomp=unconfined "
            "--security-opt systempaths=unconfined --security-opt apparmor=unconfined"
        )
    return "allow unprivileged user namespaces on this host"


async def _trial(
    sandbox: bubblewrap.BubblewrapSandbox, clock: ports.Clock, base: base_root.BaseRoot
) -> list[ports.Finding]:
    """Start a real sandbox that looks at itself."""
    agent = ids.new_agent_id()
    uid = _PROBE_UID if os.geteuid() == 0 else os.geteuid()
    async with _scratch(base.path.parent) as top:
        spec = ports.SandboxSpec(
            agent=agent, name="probe", uid=uid, env={}, cwd="/", binds=(),
            argv=("/bin/sh", "-c", "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status"),
            limits=ports.Limits(), log=top / "log", run_dir=top / "run",
        )  # fmt: skip
        begin = clock.monotonic()
        try:
            started = await sandbox.start(spec)
            took = (clock.monotonic() - begin) * 1000
            end = await sandbox.wait(agent, started.identity)
        except errors.HiveError as error:
            return [ports.Finding("sandbox", BROKEN, error.message, "mend the reason named there")]
        said = spec.log.read_text(encoding="utf-8", errors="replace")
    view = (await sandbox.root_view(base.path.parent)).text
    if end.code != 0:
        text = f"a test sandbox failed: {end.reason}: {said.strip()}"
        return [ports.Finding("sandbox", BROKEN, text, "look at the text; try HIVE_SANDBOX=host")]
    facts = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    wanted = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
    weak = [name for name, value in wanted.items() if facts.get(name, "").strip() != value]
    if weak:
        text = f"a test sandbox was not tight: {', '.join(weak)} in {said!r}"
        return [ports.Finding("sandbox", BROKEN, text, "report this; agents must not run so")]
    return [
        ports.Finding("sandbox", OK, f"a test sandbox started in {took:.0f} ms on a {view}"),
        ports.Finding(
            "seccomp", OK, "system calls are filtered, no capabilities, no new privileges"
        ),
    ]


def _cgroups(limits: cgroups.Cgroups) -> ports.Finding:
    missing = sorted({"memory", "pids", "cpu"} - limits.controllers)
    if not missing:
        return ports.Finding("cgroups", OK, f"{limits.kind.value}: memory, processes, CPU limited")
    text = f"{limits.kind.value}: no limit on {', '.join(missing)}"
    if "pids" in missing:
        text += " (processes are limited by RLIMIT_NPROC instead)"
    remedy = (
        "run as root, or in a delegated unit: systemd-run --user --scope -p Delegate=yes hive up"
        if os.geteuid() != 0
        else "mount the control groups writable"
    )
    return ports.Finding("cgroups", NOTICE, text, remedy)


async def _root(
    sandbox: bubblewrap.BubblewrapSandbox, base: base_root.BaseRoot
) -> list[ports.Finding]:
    if base.is_built():
        found = [ports.Finding("base root", OK, str(base.path))]
    elif obstacle := base.obstacle():
        reason, _, remedy = obstacle.partition("; as root run: ")
        text = f"cannot be built: {reason}; agents see this host's /usr, read-only"
        found = [ports.Finding("base root", NOTICE, text, remedy)]
    else:
        text = "not built yet; agents see this host's /usr, read-only, until then"
        found = [ports.Finding("base root", NOTICE, text, "run: hive up")]
    if await sandbox.can_overlay(base.path.parent):
        found.append(ports.Finding("overlay", OK, "agents get a writable layer over the base root"))
    else:
        text = "the base root is read-only for agents; /tmp and their state are writable"
        remedy = (
            "only root can give one" if os.geteuid() != 0
            else "put the cache on a file system that can hold an overlay (ext4, xfs, btrfs)"
        )  # fmt: skip
        found.append(ports.Finding("overlay", NOTICE, text, remedy))
    return found


def _identity() -> ports.Finding:
    if os.geteuid() == 0:
        return ports.Finding("agent uids", OK, "every agent runs as a host uid of its own")
    return ports.Finding(
        "agent uids",
        NOTICE,
        "all agents run as your own uid: who escapes one sandbox is you, and every agent",
        "run hive as root",
    )


def read_sysctl(name: str) -> str:
    """Return a kernel setting; empty where this kernel has none of that name."""
    try:
        return pathlib.Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


@contextlib.asynccontextmanager
async def _scratch(near: pathlib.Path | None) -> AsyncIterator[pathlib.Path]:
    top = _make_scratch(near)
    try:
        yield top
    finally:
        shutil.rmtree(top)


def _make_scratch(near: pathlib.Path | None) -> pathlib.Path:
    if near is not None:
        near.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(tempfile.mkdtemp(prefix="hive-probe-", dir=near))
