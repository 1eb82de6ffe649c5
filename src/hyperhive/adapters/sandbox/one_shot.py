"""Throw-away sandboxes by bubblewrap, for one command each (`one_shot_program`).

What runs there is nobody's: as root a host uid out of a range that no agent has (see `Ids`),
as an ordinary user our own. It has no name on the network, no capability unless it installs
packages, the agents' system call filter, and limits by setrlimit(2) and, where they can be
written, by control groups. It never outlives the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import pathlib
import secrets
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import (
    cgroups,
    layers,
    orders,
    pids,
    programs,
    seccomp,
    views,
)
from hyperhive.domain import agents, errors, ids

THROW_AWAY_OFFSET: Final = 10_000_000
"""Throw-away uids are ``uid_base`` + this and the `THROW_AWAY_COUNT` after it.

Behind the ten million that all hives of a host share among their agents (`hive_home.uids`).
"""
THROW_AWAY_COUNT: Final = 65_536
RANGE_OFFSET: Final = 30_000_000
"""Ranges for package installation begin at ``uid_base`` + this."""
RANGE_COUNT: Final = 64
RANGE_SIZE: Final = 65_536
CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID",
)  # fmt: skip
"""What dpkg(1) needs to own and replace files; valid for the ids of the range alone."""
DESCRIPTORS: Final = 4096
_PROGRAM: Final = pathlib.Path(__file__).parent / "one_shot_program.py"
_OUTER_REMEDY: Final = "run as root, or let this Python make user namespaces (AppArmor)"
_STATUS_BYTES: Final = 65536
_SLACK: Final = 10.0
"""How much longer the program may take than its command, before it is ended itself."""
_ROUND: Final = 0.01
_ROUNDS: Final = 50


class Ids:
    """Host uids that are lent to one command at a time."""

    def __init__(self, uid_base: int) -> None:
        self._base = uid_base
        self._lent: set[int] = set()

    @contextlib.contextmanager
    def lend(self, *, many: bool) -> Iterator[int]:
        """Lend a uid, or the first of a range. At random: another hive may have our base."""
        count, size = (RANGE_COUNT, RANGE_SIZE) if many else (THROW_AWAY_COUNT, 1)
        begin = self._base + (RANGE_OFFSET if many else THROW_AWAY_OFFSET)
        for _ in range(16 * count):
            first = begin + secrets.randbelow(count) * size
            if first not in self._lent:
                break
        else:
            raise errors.unavailable("cannot lend a uid: every one is in use; try again")
        self._lent.add(first)
        try:
            yield first
        finally:
            self._lent.discard(first)


class BubblewrapOneShots:
    """Runs commands that nobody trusts. See `ports.OneShots`."""

    def __init__(
        self,
        processes: ports.Processes,
        *,
        scratch: pathlib.Path,
        uid_base: int,
        limits: cgroups.Cgroups | None = None,
    ) -> None:
        """*scratch* is a directory of the daemon's alone, made when it is needed."""
        self._processes = processes
        self._scratch = scratch
        self._ids = Ids(uid_base)
        self._limits = limits or cgroups.Cgroups()
        self._filter = seccomp.build()
        self._count = 0
        self._swept = False
        self._outer = True

    async def probe(self) -> list[ports.Finding]:
        """Run a command that looks at itself."""
        order = ports.OneShot(
            ("/bin/sh", "-c", "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status"), {}
        )
        topic = "one-shot sandboxes"
        try:
            result = await self.run(order)
        except errors.HiveError as error:
            remedy = "mend the reason named there; nothing can be imported or built until then"
            return [ports.Finding(topic, ports.Severity.BROKEN, error.message, remedy)]
        said = result.stdout.decode("utf-8", "replace").split()
        if said != ["CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]:
            text = f"a test command was not confined: {' '.join(said)}"
            remedy = "report this; nothing must be built so"
            return [ports.Finding(topic, ports.Severity.BROKEN, text, remedy)]
        if not self._outer:
            text = "a daemon that is killed while one starts can leave that one running"
            return [ports.Finding(topic, ports.Severity.NOTICE, text, _OUTER_REMEDY)]
        return [ports.Finding(topic, ports.Severity.OK, "a test command ran confined")]

    async def run(
        self,
        order: ports.OneShot,
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        output_limit: int = 16 * 1024**2,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> ports.ProcessResult:
        """Run to the end; nothing of it is left when this returns, however it returns.

        A command that ended by signal N has code 128 + N. UNAVAILABLE also when the program
        does not exist inside.
        """
        what = f"{order.argv[0]} in a throw-away sandbox"
        async with contextlib.AsyncExitStack() as stack:
            try:
                self._sweep()
                run = await stack.enter_async_context(self._prepared(order, timeout))
                source, target = -1, -1
                if isinstance(stdin, pathlib.Path):
                    source = stack.enter_context(_opened(stdin, os.O_RDONLY))
                    stdin = b""
                if stdout is not None:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                    target = stack.enter_context(_opened(stdout, flags))
                status = stack.enter_context(_Status())
                run["stdin"], run["stdout"], run["status"] = source, target, status.writer
                run["output_limit"], run["pass_fds"] = output_limit, list(pass_fds)
                fd = stack.enter_context(orders.written(run))
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                raise errors.unavailable(f"cannot run {what}: {where}{error.strerror}") from error
            passed = [fd, status.writer, *(fd for fd in (source, target) if fd >= 0), *pass_fds]
            try:
                async with asyncio.timeout(timeout):
                    result = await self._processes.run(
                        [sys.executable, "-I", "-S", str(_PROGRAM), str(fd)],
                        stdin=stdin,
                        timeout=timeout + _SLACK,
                        pass_fds=passed,
                        output_limit=output_limit,
                        on_line=on_line,
                    )
            except TimeoutError as error:
                raise errors.unavailable(
                    f"cannot finish {what}: it took longer than {timeout:g} s and was ended"
                ) from error
            except errors.HiveError as error:
                raise errors.unavailable(error.message.replace(sys.executable, what)) from error
            finally:
                await status.end()
                self._outer = status.outer
            groups = [pathlib.Path(path) for path in run["cgroups"]]
            return _result(result, status, what, output_limit, groups)

    # --- parts --------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _prepared(
        self, order: ports.OneShot, timeout: float
    ) -> AsyncIterator[orders.OneShotOrder]:
        """Make all that a run needs on disk, and remove it."""
        bwrap = programs.find_bwrap()
        self._count += 1
        name = f"one-shot-{os.getpid()}-{self._count}"
        ordinary = os.geteuid() != 0
        with contextlib.ExitStack() as stack:
            uid, lent = os.geteuid() if ordinary else order.uid, None
            if not ordinary and order.as_root:
                uid = stack.enter_context(self._ids.lend(many=True))
                lent = (uid, RANGE_SIZE)
            elif uid is None:
                uid = stack.enter_context(self._ids.lend(many=False))
                lent = (uid, 1)
            if uid < 1:
                raise errors.invalid(f"cannot run {order.argv[0]} as uid {uid}: never as root")
            spec = _spec(order, 0 if order.as_root else uid, self._scratch)
            overlay = None
            if order.lowers is not None:
                overlay = stack.enter_context(self._overlay(order, spec))
            groups = self._limits.create(ids.AgentId(name), order.limits)
            try:
                yield orders.OneShotOrder(
                    parent=os.getpid(), bwrap=bwrap, argv=list(order.argv),
                    options=_options(order, spec), ordinary=ordinary, uid=uid, range=lent,
                    as_root=order.as_root, overlay=overlay,
                    cgroups=[str(group) for group in groups],
                    rlimits=_rlimits(order, timeout), status=-1, stdin=-1, stdout=-1,
                    output_limit=0, pass_fds=[], seccomp=self._filter,
                )  # fmt: skip
            finally:
                for _ in range(_ROUNDS):
                    # The last member may be in the middle of being reaped.
                    if not cgroups.remove(groups):
                        break
                    await asyncio.sleep(_ROUND)

    @contextlib.contextmanager
    def _overlay(self, order: ports.OneShot, spec: ports.SandboxSpec) -> Iterator[orders.Overlay]:
        """Make the mount points of *spec* as a layer of their own, and a place to write."""
        assert order.lowers is not None
        skeleton = pathlib.Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._scratch))
        skeleton.chmod(0o755)
        work = pathlib.Path()
        try:
            layers.make_places(skeleton, order.lowers, spec)
            overlay = orders.Overlay(
                lowers=[str(path) for path in (skeleton, *order.lowers)], top="", upper="", work=""
            )
            if order.upper is not None:
                order.upper.mkdir(mode=0o755, exist_ok=True)
                work = order.upper.with_name(f"{order.upper.name}.work")
                work.mkdir(mode=0o700)
                overlay["top"], overlay["upper"] = str(work.parent), order.upper.name
                overlay["work"] = work.name
            yield overlay
        finally:
            shutil.rmtree(skeleton)
            if work.name:
                layers.remove_tree(work)

    def _sweep(self) -> None:
        """Once: remove what daemons left that were killed."""
        if self._swept:
            return
        self._swept = True
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._scratch.iterdir():
            if not _lives(path.name.split("-")[0]):
                layers.remove_tree(path)
        for parent in set(self._limits.parents.values()):
            for group in parent.glob("one-shot-*"):
                if not _lives(group.name.split("-")[2]):
                    cgroups.remove([group])


class _Status:
    """The pipe on which the program says who runs, and how it went."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.lines: list[str] = []
        self.child: agents.SandboxIdentity | None = None
        self.outer = True
        self._text = b""

    def __enter__(self) -> _Status:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self.writer)

    async def end(self) -> None:
        """Read all that was said, and return when nothing of the command runs any more."""
        with contextlib.suppress(BlockingIOError):
            while len(self._text) < _STATUS_BYTES and (block := os.read(self.reader, 4096)):
                self._text += block
        self.lines = self._text.decode("utf-8", "replace").splitlines()
        for line in self.lines:
            if line.startswith("pid "):
                pid, begin, outer = map(int, line.split()[1:])
                self.child = agents.SandboxIdentity(pids.boot_id(), pid, begin)
                self.outer = bool(outer)
        if self.child is not None:
            pids.send_signal(self.child, signal.SIGKILL)
            await pids.ended(self.child)


def _result(
    result: ports.ProcessResult,
    status: _Status,
    what: str,
    limit: int,
    groups: Sequence[pathlib.Path],
) -> ports.ProcessResult:
    for line in status.lines:
        if line == "overflow":
            raise errors.unavailable(f"cannot use the output of {what}: more than {limit} bytes")
        if line.startswith("error "):
            raise errors.unavailable(f"cannot run {what}: {line[6:]}")
    if not any('"exit-code"' in line for line in status.lines):
        said = result.stderr.decode("utf-8", "replace").strip()[-400:]
        raise errors.unavailable(f"cannot run {what}: {said or 'it was killed'}")
    if cgroups.memory_kills(groups):
        note = b"ended by the kernel: the sandbox's memory limit was reached\n"
        return ports.ProcessResult(result.code, result.stdout, result.stderr + note)
    return result


def _options(order: ports.OneShot, spec: ports.SandboxSpec) -> list[orders.Option]:
    ordinary = os.geteuid() != 0
    view = views.View(None, overlay=False)
    if order.lowers is not None:
        view = views.View(order.lowers[-1], overlay=True)
    if order.as_root:
        who: list[orders.Option] = ["--cap-drop", "ALL"]
        for name in CAPABILITIES:
            who += ["--cap-add", name]
    else:
        who = ["--unshare-user", "--cap-drop", "ALL"]
        who += ["--uid", str(spec.uid), "--gid", str(os.getegid() if ordinary else spec.uid)]
    files = views.identity(spec)
    if order.as_root and order.lowers is not None:
        # Packages add users: the root's own files, which a layer may change.
        files = {name: files[name] for name in ("/etc/hosts", "/etc/resolv.conf")}
    if order.network:
        files |= {name: _host_text(name) for name in ("/etc/hosts", "/etc/resolv.conf")}
    files |= order.etc
    return [
        *who, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        *(() if order.network else ("--unshare-net",)),
        "--new-session", "--die-with-parent", "--hostname", spec.name,
        "--seccomp", {"fd": "seccomp"}, "--json-status-fd", {"fd": "status"},
        *views.inside(view, spec, files),
    ]  # fmt: skip


def _spec(order: ports.OneShot, uid: int, scratch: pathlib.Path) -> ports.SandboxSpec:
    """Say it in the words of an agent's sandbox, for what both have in common."""
    return ports.SandboxSpec(
        agent=ids.AgentId("0" * 12), name="one-shot", uid=uid, argv=order.argv, env=order.env,
        cwd=order.cwd, binds=order.binds, limits=order.limits, log=scratch, run_dir=scratch,
    )  # fmt: skip


def _rlimits(order: ports.OneShot, timeout: float) -> dict[str, int]:
    limits = {
        "RLIMIT_CPU": math.ceil(timeout * order.limits.cpus) + 1,
        "RLIMIT_FSIZE": order.file_bytes,
        "RLIMIT_NPROC": order.limits.processes,
        "RLIMIT_NOFILE": DESCRIPTORS,
        "RLIMIT_CORE": 0,
        "RLIMIT_DATA": order.limits.memory_bytes,
    }
    if order.address_space:
        limits["RLIMIT_AS"] = order.limits.memory_bytes
    return limits


def _host_text(path: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


@contextlib.contextmanager
def _opened(path: pathlib.Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        if flags & os.O_CREAT and not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(22, "is no regular file", str(path))
        yield fd
    finally:
        os.close(fd)


def _lives(pid: str) -> bool:
    return pid.isdigit() and pathlib.Path("/proc", pid).exists()
