"""Verbs that start and end a hive."""

from __future__ import annotations

import fcntl
import pathlib
import time
from typing import TYPE_CHECKING, Final

import click

import hyperhive
from hyperhive.cli import client, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors

if TYPE_CHECKING:
    from hyperhive import daemon

_DOWN_SECONDS: Final = 60.0


@click.command()
@click.option("--demo", is_flag=True, help="Use the built-in scripted model.")
@click.option("--port", type=int, metavar="N", help="Port of the page (HIVE_PORT); 0: any free.")
@click.option("--model", metavar="NAME", help="Model of agents that have none of their own.")
@click.option(
    "--sandbox", type=click.Choice(["auto", "base", "host"]), help="What agents see as their /."
)
@common
def up(
    call: Invocation, demo: bool, port: int | None, model: str | None, sandbox: str | None
) -> None:
    """Prepare what is missing, then run the hive until SIGTERM or Ctrl-C.

    The first start installs Debian packages (as root; otherwise it names the command), gets the
    pinned claude program and builds the agents' base system. Later starts take a second or two.

    With --json one line is printed to standard output when the hive is ready, with url,
    sign_in, home and pid; everything else goes to standard error.

    Agents keep running when this ends, and are taken up again by the next start. To end them
    too, use: hive down.
    """
    from hyperhive import settings
    from hyperhive.cli import provisioning

    loaded = settings.load(
        settings.environment(),
        {
            "home": call.named_home,
            "demo": demo or None,
            "port": port,
            "model": model,
            "sandbox": sandbox,
        },
    )
    say = show.note if call.json else show.echo

    def report(line: str) -> None:
        say("  " + show.clean(line))

    def ready(info: daemon.ReadyInfo) -> None:
        if call.json:
            show.as_json(
                {
                    "url": info.url,
                    "sign_in": info.sign_in,
                    "home": str(info.home),
                    "pid": info.pid,
                }
            )
            return
        show.echo()
        show.echo(f"  The page   {show.bold(info.url, call.color)}")
        show.echo(f"  Sign in    {show.bold(info.sign_in, call.color)}")
        show.echo(show.dim("             (works once; another one: hive login)", call.color))
        show.echo()
        show.echo("  Ctrl-C ends the hive and leaves its agents running; hive down ends both.")

    say(f"{show.bold('hyperhive', call.color)} {hyperhive.__version__}, home {loaded.home}")
    provisioning.ensure_host(loaded.cache, report)
    from hyperhive import daemon, migration

    migration.at_start(loaded, report)
    daemon.run(loaded, report, ready)


@click.command()
@click.option("--keep-agents", is_flag=True, help="End the daemon only.")
@common
def down(call: Invocation, keep_agents: bool) -> None:
    """End the running hive and stop all its agents.

    Which agents should run is remembered: the next `hive up` starts them again.
    """
    try:
        result = call.client.call("shutdown", seconds=_DOWN_SECONDS, agents=not keep_agents)
    except client.NoDaemon:
        if keep_agents or not _end_left(call):
            raise
        return
    deadline = time.monotonic() + _DOWN_SECONDS
    while _is_answering(call) or _is_held(call.home / "run" / "daemon.lock"):
        if time.monotonic() > deadline:
            raise errors.unavailable(
                f"cannot end the hive: it is still there after {_DOWN_SECONDS:g} s; "
                f"look at {call.home}/log/daemon.log"
            )
        time.sleep(0.1)
    if call.json:
        show.as_json(result)
    else:
        show.echo("the hive has ended")


def _end_left(call: Invocation) -> bool:
    """End sandboxes that outlived their daemon; whether there were any."""
    from hyperhive import settings

    loaded = settings.load(settings.environment(), {"home": call.named_home})
    if not (loaded.home / "store" / "hive.db").exists():
        return False
    from hyperhive import daemon

    names = daemon.end_agents(loaded)
    if call.json:
        show.as_json({"ended": names})
    elif names:
        show.echo(f"no daemon was running; ended the sandboxes of {', '.join(names)}")
    return bool(names)


def _is_answering(call: Invocation) -> bool:
    try:
        call.client.call("version", seconds=5.0)
    except client.NoDaemon:
        return False
    except errors.HiveError:
        # It is closing: a cut connection is on the way there.
        return True
    return True


def _is_held(lock: pathlib.Path) -> bool:
    """Whether the daemon's process still holds its home; the next one could not start."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, PermissionError):
        # Not ours to look at (we came by the admin group): the silent socket must do.
        return False
    return False


@click.command()
@click.option("--cache", metavar="DIR", help="Where to keep what is prepared (HIVE_CACHE).")
@common
def prepare(call: Invocation, cache: str | None) -> None:
    """Only prepare this host: packages, the claude program, the agents' base system.

    For images and build servers; `hive up` does the same by itself.
    """
    from hyperhive import settings
    from hyperhive.cli import provisioning

    loaded = settings.load(settings.environment(), {"home": call.named_home, "cache": cache})
    say = show.note if call.json else show.echo

    def report(line: str) -> None:
        say("  " + show.clean(line))

    provisioning.ensure_host(loaded.cache, report)
    provisioning.build_base(loaded, report)
    if call.json:
        show.as_json({"cache": str(loaded.cache)})
    else:
        show.echo(f"this host is prepared; the cache is {loaded.cache}")
