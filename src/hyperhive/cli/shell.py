"""Verbs about the program itself."""

from __future__ import annotations

import click

import hyperhive
from hyperhive.cli import client, show
from hyperhive.cli.options import Invocation, common


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@common
def completion(call: Invocation, shell: str) -> None:
    """Print the completion script of SHELL (bash, zsh or fish).

    \b
    bash   hive completion bash > ~/.local/share/bash-completion/completions/hive
    zsh    hive completion zsh > "${fpath[1]}/_hive"
    fish   hive completion fish > ~/.config/fish/completions/hive.fish
    """
    from click import shell_completion

    from hyperhive.cli.program import root

    made = shell_completion.get_completion_class(shell)
    assert made is not None
    script = made(root, {}, "hive", "_HIVE_COMPLETE").source()
    if call.json:
        show.as_json({"shell": shell, "script": script})
    else:
        show.echo(script)


@click.command()
@common
def version(call: Invocation) -> None:
    """Print the version of this program, and of the daemon when one answers."""
    try:
        daemon = call.client.call("version")["version"]
    except client.NoDaemon:
        daemon = None
    if call.json:
        show.as_json({"version": hyperhive.__version__, "daemon": daemon})
        return
    show.echo(f"hive {hyperhive.__version__}")
    if daemon is not None and daemon != hyperhive.__version__:
        show.echo(f"the running daemon is {show.clean(daemon)}; restart it: hive up")
