"""Bring this host to where a hive can run: packages, the claude program, the base system."""

from __future__ import annotations

import asyncio
import pathlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from hyperhive import settings
from hyperhive.adapters.claude_cli import provision
from hyperhive.adapters.host import apparmor, facts, packages
from hyperhive.adapters.process import host
from hyperhive.domain import errors

Report = Callable[[str], None]


def ensure_host(cache: pathlib.Path, report: Report) -> None:
    """Install what is missing; `HiveError` UNAVAILABLE with the command when we may not.

    The same for a git that must not face what agents write.
    """
    run(_ensure_host(cache, packages.find_missing(), report))


def build_base(options: settings.Settings, report: Report) -> None:
    """Build the base system that the agents' sandboxes stand on, where it is missing."""
    # Imported here: `hive up` leaves this to the daemon, which imports it anyway.
    from hyperhive.adapters.clock import system
    from hyperhive.adapters.sandbox import bubblewrap

    sandbox = bubblewrap.BubblewrapSandbox(
        host.HostProcesses(),
        system.SystemClock(),
        cache=options.cache,
        view=options.sandbox,
        build_env=settings.proxies(settings.environment()),
    )
    run(sandbox.prepare(report))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* to its end; SIGTERM ends it as Ctrl-C does, with what it started."""

    async def watched() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    try:
        asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _ensure_host(cache: pathlib.Path, missing: list[packages.Need], report: Report) -> None:
    processes = host.HostProcesses()
    env = settings.environment()
    if missing and packages.may_install():
        await packages.install(processes, missing, report, env=env)
        missing = packages.find_missing()
    required = [need for need in missing if need.required]
    if required:
        lacking = "; ".join(f"{need.package} ({need.purpose})" for need in required)
        raise errors.unavailable(
            f"cannot go on without {lacking}; run: {packages.command(missing)}"
        )
    for need in missing:
        report(f"going on without {need.package} ({need.purpose}): {packages.command([need])}")
    await facts.require_git(processes)
    if packages.may_install():
        await apparmor.allow_bubblewrap(processes, report)
    await provision.ensure(processes, cache, report, env=env)
