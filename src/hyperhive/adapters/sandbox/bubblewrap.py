"""Sandboxes by bubblewrap, started by a launcher that goes away (ADR 0003).

Nothing of a running sandbox depends on this process: it is found again by what lies in
its ``run_dir`` and by its identity, its exit code is written by bwrap itself, its log
is a file. Every call may therefore be made by a daemon that did not start it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import (
    base_root,
    cgroups,
    layers,
    log_keeper,
    logs,
    merged,
    orders,
    pids,
    probe,
    programs,
    records,
    remains,
    seccomp,
    views,
)
from hyperhive.domain import agents, errors, ids

_END_TIMEOUT: Final = 10.0
"""How long a killed tree may take to be gone; the kernel needs milliseconds."""


class BubblewrapSandbox:
    """Runs agents in sandboxes of this host. See `ports.Sandbox`."""

    def __init__(
        self,
        processes: ports.Processes,
        clock: ports.Clock,
        *,
        cache: pathlib.Path,
        view: str = "auto",
        build_env: Mapping[str, str] | None = None,
        limits: cgroups.Cgroups | None = None,
    ) -> None:
        """*view* is ``auto``, ``base`` or ``host``; *build_env* reaches the build of the base
        root (proxy variables); *limits* is given by tests.
        """
        if view not in ("auto", "base", "host"):
            raise errors.invalid(f"cannot use the root view {view!r}: use auto, base or host")
        self._processes = processes
        self._programs = programs.Programs(processes)
        self._clock = clock
        self._view = view
        self._base = base_root.BaseRoot(processes, clock, cache, build_env or {})
        self._merged = cache / "merged"
        self._runs = records.Registry(cache / "runs")
        self._limits = limits or cgroups.Cgroups()
        self._log_keeper = log_keeper.LogKeeper()
        self._remains = remains.Remains(self._limits)
        self._overlays: dict[int, bool] = {}
        """By file system: whether it can hold the writable layer of an overlay."""
        self._filter = seccomp.build()

    # --- the host -----------------------------------------------------------------------

    async def probe(self) -> list[ports.Finding]:
        """Say what this host can and cannot do, by trying it."""
        return await probe.look(self, self._processes, self._clock, self._base, self._limits)

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Build the base root once, and remove what killed daemons left of control groups.

        With the view ``auto`` a host that cannot build it is told so in a line of
        progress and gets the view of its own /usr; with ``base`` it is UNAVAILABLE.
        """
        self._limits.sweep(self._clock.now())
        if self._view == "host":
            return
        if self._base.is_built():
            await asyncio.to_thread(self._base.complete)
            return
        try:
            await self._base.build(progress)
        except errors.HiveError as error:
            if self._view == "base":
                raise
            progress(f"{error.message}; agents get a read-only view of this host's /usr instead")

    def base_path(self) -> pathlib.Path | None:
        """The base root that agents get; None when they get a view of the host's own /usr."""
        return self._base.path if self._view != "host" and self._base.is_built() else None

    async def root_view(self, run_dir: pathlib.Path) -> views.View:
        """Return the root that a sandbox of *run_dir* started now would get."""
        if self._view == "host" or (self._view == "auto" and self.base_path() is None):
            return views.View(None, overlay=False)
        if not self._base.is_built():
            raise errors.unavailable(
                "cannot start a sandbox: the base root is not built; run 'hive up' to build it"
            )
        return views.View(self._base.path, overlay=await self.can_overlay(run_dir))

    async def can_overlay(self, run_dir: pathlib.Path) -> bool:
        """Whether a writable layer can lie in *run_dir* (root only; found out by trying, once)."""
        if os.geteuid() != 0:
            return False
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - local, one call
        device = run_dir.stat().st_dev  # noqa: ASYNC240 - local, one call
        if device not in self._overlays:
            self._overlays[device] = await probe.try_overlay(self._processes, run_dir)
        return self._overlays[device]

    # --- life ---------------------------------------------------------------------------

    async def start(self, spec: ports.SandboxSpec) -> ports.Started:
        """Start the payload; whatever an earlier start of this agent left is ended first."""
        self._check(spec)
        with _refused(f"start the sandbox of {spec.name}"):
            return await self._start(spec)

    async def _start(self, spec: ports.SandboxSpec) -> ports.Started:
        bwrap = programs.find_bwrap()
        spec.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        view = await self.root_view(spec.run_dir)
        if spec.lowers:
            view = await asyncio.to_thread(merged.equip, view, spec, self._merged)
        self._runs.note(spec.agent, spec.run_dir)
        options = views.options(view, spec)
        async with self._remains.alone(spec.run_dir) as lock:
            await self._remains.end(spec.agent, spec.run_dir)
            overlay = None
            if view.base is not None and view.overlay:
                overlay = await asyncio.to_thread(layers.prepare, view.base, spec)
            order = self._order(spec, bwrap, options, overlay)
            try:
                (pid, begin), listeners = await self._programs.start(order, spec.name, lock)
            except BaseException:
                # Also when cancelled: what was started by then must not live on unknown.
                await self._remains.end(spec.agent, spec.run_dir)
                raise
        return ports.Started(agents.SandboxIdentity(pids.boot_id(), pid, begin), listeners)

    async def stop(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, grace: float
    ) -> None:
        """Ask with SIGTERM, wait up to *grace* seconds, then end the whole tree."""
        if pids.is_alive(identity):
            try:
                pids.send_signal(pids.payload(identity), signal.SIGTERM)
                record = self._record(agent, identity)
                async with asyncio.timeout(grace):
                    await pids.ended(record.watcher if record else identity)
            except (ProcessLookupError, TimeoutError):
                pass  # No payload to ask, or it did not listen: the kill below is for both.
        await self.kill(agent, identity)

    async def kill(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> None:
        """End the whole process tree now, detached children included.

        Pid 1 of the pid namespace dies, and the kernel kills every member before
        that is complete (pid_namespaces(7)): no list of processes is walked.
        """
        pids.send_signal(identity, signal.SIGKILL)
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await pids.ended(identity)
                record = self._record(agent, identity)
                if record is not None:
                    await self._remains.clear(record)
        except TimeoutError as error:
            raise errors.unavailable(
                f"cannot end the sandbox of {agent}: pid {identity.pid} still runs "
                f"{_END_TIMEOUT:g} s after SIGKILL; the host may be stuck in I/O"
            ) from error

    async def is_running(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> bool:
        """Whether exactly that sandbox still runs and its payload has not ended."""
        if not pids.is_alive(identity):
            return False
        return self._record(agent, identity) is None or self._exit_code(agent) is None

    async def find_left(
        self, agent: ids.AgentId, run_dir: pathlib.Path
    ) -> agents.SandboxIdentity | None:
        """A sandbox of this agent that runs though no row says so (we died while starting it)."""
        with _refused(f"look for a sandbox of {agent}"):
            self._runs.note(agent, run_dir)
            if not run_dir.is_dir():  # noqa: ASYNC240 - local, one call
                return None
            async with self._remains.alone(run_dir):
                return await self._remains.find(agent, run_dir)

    async def wait(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> ports.Exit:
        """Return when it has ended; woken by the process itself (pidfd), not by a poll.

        The end is the payload's: what it left running in the sandbox is ended then.
        """
        record = self._record(agent, identity)
        if record is not None:
            # bwrap outside ends with the payload; somebody may have killed it alone, though.
            with self._log_keeper.keep(pathlib.Path(record.log)):
                await pids.ended(record.watcher)
            if self._exit_code(agent) is None:
                with contextlib.suppress(ProcessLookupError):
                    await pids.ended(pids.payload(identity))
        else:
            await pids.ended(identity)
        kills = cgroups.memory_kills(record.cgroups) if record else 0
        await self.kill(agent, identity)
        code = self._exit_code(agent) if record else None
        return ports.Exit(code, _reason(code, kills))

    # --- inside -------------------------------------------------------------------------

    async def open_port(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, port: int
    ) -> socket.socket:
        """A listener on 127.0.0.1:*port* inside; used again after the daemon restarted."""
        order = self._entry(agent, identity)
        order["ports"] = [port]
        return (await self._programs.listen(order, f"the sandbox of {agent}"))[port]

    async def exec(
        self,
        agent: ids.AgentId,
        identity: agents.SandboxIdentity,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        output_limit: int = 16 * 1024**2,
    ) -> ports.ExecResult:
        """Run a command inside, as the payload's uid, without capabilities.

        Code 127: it could not be run, stderr says why; 128 + N: it ended by signal N.
        """
        order = self._entry(agent, identity)
        order["argv"] = list(argv)
        whose = f"the sandbox of {agent}"
        return await self._programs.run(order, whose, stdin, timeout, output_limit)

    async def stats(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> ports.Stats:
        """What the sandbox uses now, by its cgroup, else by looking at its processes."""
        record = self._record(agent, identity)
        if not pids.is_alive(identity):
            return ports.Stats(0, 0, None)
        used = cgroups.usage(record.cgroups if record else ())
        if used.processes is not None and used.memory_bytes is not None:
            return ports.Stats(used.processes, used.memory_bytes, used.cpu_seconds)
        members = await asyncio.to_thread(pids.members, identity)
        memory, cpu = await asyncio.to_thread(pids.consumption, members)
        return ports.Stats(len(members), memory, used.cpu_seconds or cpu)

    def follow_log(self, log: pathlib.Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The last *lines* lines of a log and, when following, each new one as it is written."""
        return logs.follow_log(log, lines=lines, follow=follow)

    # --- parts --------------------------------------------------------------------------

    def _check(self, spec: ports.SandboxSpec) -> None:
        euid = os.geteuid()
        if euid == 0 and spec.uid < 1:
            raise errors.invalid(f"cannot run {spec.name} as uid {spec.uid}: never as root")
        if euid != 0 and spec.uid != euid:
            raise errors.invalid(
                f"cannot run {spec.name} as uid {spec.uid}: without root it is ours, {euid}"
            )
        if not spec.argv:
            raise errors.invalid(f"cannot run {spec.name}: no command given")

    def _create_groups(self, spec: ports.SandboxSpec) -> tuple[pathlib.Path, ...]:
        try:
            return self._limits.create(spec.agent, spec.limits)
        except OSError as error:
            raise errors.unavailable(
                f"cannot limit the sandbox of {spec.name}: {error.filename}: {error.strerror}"
            ) from error

    def _order(
        self,
        spec: ports.SandboxSpec,
        bwrap: str,
        options: list[orders.Option],
        overlay: orders.Overlay | None,
    ) -> orders.StartOrder:
        groups = self._create_groups(spec)
        privileged = os.geteuid() == 0
        facts = {
            "agent": spec.agent,
            "boot_id": pids.boot_id(),
            "uid": spec.uid,
            "log": str(spec.log),
            "cwd": spec.cwd,
            "env": views.environment(spec),
            "cgroups": [str(group) for group in groups],
        }
        return orders.StartOrder(
            bwrap=bwrap,
            argv=list(spec.argv),
            options=options,
            uid=spec.uid if privileged else None,
            gid=spec.uid if privileged else None,
            cgroups=[str(group) for group in groups],
            overlay=overlay,
            log=str(spec.log),
            status=str(spec.run_dir / records.STATUS),
            record=str(spec.run_dir / records.RECORD),
            facts=json.dumps(facts),
            processes=spec.limits.processes,
            ports=list(spec.ports),
            private_fds=[],
            seccomp=self._filter,
        )

    def _entry(
        self,
        agent: ids.AgentId,
        identity: agents.SandboxIdentity,
    ) -> orders.EntryOrder:
        record = self._record(agent, identity)
        if record is None or not pids.is_alive(identity):
            raise errors.unavailable(f"cannot enter the sandbox of {agent}: it does not run")
        return orders.EntryOrder(
            pid=identity.pid,
            start_time=identity.start_time,
            socket=-1,
            ports=[],
            argv=[],
            env=record.env,
            cwd=record.cwd,
            uid=record.uid,
            cgroups=[str(group) for group in record.cgroups],
            seccomp=self._filter,
        )

    def _record(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity
    ) -> records.Record | None:
        """The record of exactly that start; None when a later start, or nothing, is on record."""
        try:
            record = records.read_record(self._runs.find(agent), agent)
        except LookupError:
            return None
        return record if record.sandbox == identity else None

    def _exit_code(self, agent: ids.AgentId) -> int | None:
        return records.read_exit_code(self._runs.find(agent))


@contextlib.contextmanager
def _refused(doing: str) -> Iterator[None]:
    """Turn what the host refuses (a full disk, a directory of somebody else) into UNAVAILABLE."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise errors.unavailable(f"cannot {doing}: {where}{error.strerror or error}") from error


def _reason(code: int | None, memory_kills: int) -> str:
    if memory_kills:
        return f"exit code {code}, after {memory_kills} out-of-memory kill(s)"
    if code is None:
        return "ended, and nobody knows its exit code"
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(code - 128).name}"
    return f"exit code {code}"
