"""The verb that looks at this host, with or without a running daemon."""

from __future__ import annotations

import asyncio
import os
import pathlib
import tempfile
from typing import Any, Final

import click

from hyperhive import ports, settings
from hyperhive.adapters.claude_cli import provision
from hyperhive.adapters.host import facts
from hyperhive.adapters.process import host as host_processes
from hyperhive.cli import client, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors
from hyperhive.wire import problems

_MARKS: Final = {"ok": ("ok", "green"), "notice": ("notice", "yellow"), "broken": ("BROKEN", "red")}


@click.command()
@common
def doctor(call: Invocation) -> None:
    """Say what this host can and cannot do, and how to mend it.

    "notice" works, but something is weaker than it could be; "BROKEN" means that agents cannot
    run until it is mended, and makes the exit code 7.
    """
    found = [_view(finding) for finding in asyncio.run(_look(call))]
    if call.json:
        show.as_json({"findings": found})
    else:
        _print(found, call.color)
    if any(finding["severity"] == ports.Severity.BROKEN.value for finding in found):
        click.get_current_context().exit(problems.EXIT_CODE[errors.ErrorKind.UNAVAILABLE])


def _view(finding: ports.Finding) -> dict[str, str]:
    return {
        "topic": finding.topic,
        "severity": finding.severity.value,
        "text": finding.text,
        "remedy": finding.remedy,
    }


def _print(found: list[dict[str, str]], color: bool) -> None:
    width = max(len(finding["topic"]) for finding in found)
    for finding in found:
        mark, paint = _MARKS[finding["severity"]]
        mark = mark.ljust(6)
        shown = click.style(mark, fg=paint) if color else mark
        topic = show.clean(finding["topic"]).ljust(width)
        show.echo(f"{shown}  {topic}  {show.clean(finding['text'])}")
        if finding["remedy"]:
            show.echo(
                f"{' ' * (10 + width)}{show.dim('-> ', color)}{show.clean(finding['remedy'])}"
            )


async def _look(call: Invocation) -> list[ports.Finding]:
    options = settings.load(settings.environment(), {"home": call.named_home})
    processes = host_processes.HostProcesses()
    found = [
        facts.look_at_python(),
        await facts.look_at_git(processes),
        *facts.look_at_packages(),
        await provision.inspect(processes, options.cache),
        facts.look_at_disk(options.home),
    ]
    try:
        # Blocking is fine: nothing else runs in this loop.
        daemon = call.client.call("doctor")
        model = call.client.call("model-status")
    except client.NoDaemon:
        # Only here, because with a daemon it is the daemon who looks.
        return [
            *found,
            facts.look_at_home(options.home),
            facts.look_at_port(options.host, options.port),
            _stored_credential(options),
            *await _look_at_sandboxes(options, processes),
        ]
    topics = {finding.topic for finding in found}
    return [
        *found,
        ports.Finding("daemon", ports.Severity.OK, f"runs for {options.home}"),
        _credential(str(model["kind"])),
        *(finding for finding in _read(daemon) if finding.topic not in topics),
    ]


async def _look_at_sandboxes(
    options: settings.Settings, processes: ports.Processes
) -> list[ports.Finding]:
    """Try a sandbox, a one-shot, and a layer, with what the daemon would use."""
    from hyperhive.adapters.builder import layers, nix_setup
    from hyperhive.adapters.clock import system as system_clock
    from hyperhive.adapters.sandbox import bubblewrap, one_shot

    clock = system_clock.SystemClock()
    sandbox = bubblewrap.BubblewrapSandbox(
        processes, clock, cache=options.cache, view=options.sandbox
    )
    found = await sandbox.probe()
    # Where layers would lie, or as near as we may write; a look leaves nothing there.
    near = [path for path in (options.home, options.cache) if os.access(path, os.W_OK)]
    with tempfile.TemporaryDirectory(prefix="hive-probe-", dir=(*near, None)[0]) as top:
        one_shots = one_shot.BubblewrapOneShots(
            processes,
            scratch=pathlib.Path(top, "one-shot"),
            uid_base=options.uid_base or settings.UID_BASE_MIN,
        )
        found += await one_shots.probe()
        if found[-1].severity is not ports.Severity.BROKEN:
            builder: ports.Builder = layers.LayersBuilder(
                one_shots, processes, clock, home=pathlib.Path(top), base=sandbox.base_path
            )
            if options.builder == "nix":
                choice = nix_setup.Choice(options.nix_nixpkgs, options.nix_hyperhive)
                builder = nix_setup.make(
                    one_shots, processes, pathlib.Path(top), choice,
                    env={}, root=os.geteuid() == 0, log=click.echo,
                ).builder  # fmt: skip
            found += await builder.probe()
    return found


def _read(daemon: dict[str, Any]) -> list[ports.Finding]:
    return [
        ports.Finding(
            row["topic"], ports.Severity(row["severity"]), row["text"], row.get("remedy", "")
        )
        for row in daemon["findings"]
    ]


def _credential(kind: str) -> ports.Finding:
    if kind == "none":
        return ports.Finding(
            "credential", ports.Severity.NOTICE, "none: agents cannot think yet",
            "hive model api-key, hive model token, or hive up --demo",
        )  # fmt: skip
    return ports.Finding("credential", ports.Severity.OK, kind.replace("_", " "))


def _stored_credential(options: settings.Settings) -> ports.Finding:
    stored = pathlib.Path(options.home / "secrets" / "model-credential")
    try:
        if stored.exists():
            return ports.Finding("credential", ports.Severity.OK, "one is stored in the home")
    except PermissionError:
        return ports.Finding(
            "credential", ports.Severity.NOTICE, f"{stored.parent} cannot be read by this user"
        )
    if options.api_key or options.auth_token:
        return ports.Finding("credential", ports.Severity.OK, "one is in the environment")
    return _credential("none")
