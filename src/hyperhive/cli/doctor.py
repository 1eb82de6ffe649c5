"""The verb that looks at this host, with or without a running daemon."""

from __future__ import annotations

import asyncio
import pathlib
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
        from hyperhive.adapters.clock import system as system_clock
        from hyperhive.adapters.sandbox import bubblewrap

        sandbox = bubblewrap.BubblewrapSandbox(
            processes, system_clock.SystemClock(), cache=options.cache, view=options.sandbox
        )
        return [
            *found,
            facts.look_at_home(options.home),
            facts.look_at_port(options.host, options.port),
            _stored_credential(options),
            *await sandbox.probe(),
        ]
    topics = {finding.topic for finding in found}
    return [
        *found,
        ports.Finding("daemon", ports.Severity.OK, f"runs for {options.home}"),
        _credential(str(model["kind"])),
        *(finding for finding in _read(daemon) if finding.topic not in topics),
    ]


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
