"""The tree of verbs, and what becomes of an error.

Rule: a verb's module is imported when the verb is used, so that ``hive list`` pays for
nothing else and ``hive --help`` for nothing at all.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, Final

import click

from hyperhive.cli import client, options
from hyperhive.domain import errors
from hyperhive.wire import problems

EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141

# section -> verb -> (module, attribute, one line of help)
VERBS: Final[dict[str, dict[str, tuple[str, str, str]]]] = {
    "Run a hive": {
        "up": ("up", "up", "Prepare what is missing and run the hive in the foreground."),
        "down": ("up", "down", "End the running hive and stop all its agents."),
        "prepare": ("up", "prepare", "Only prepare this host; start nothing."),
        "login": ("access", "login", "Print a new one-time link to the page."),
        "model": ("access", "model", "Show or set where the model comes from, and an agent's."),
        "status": ("agents", "status", "Say how the hive stands, in one screen."),
    },
    "Agents": {
        "list": ("agents", "list_agents", "List the agents and what each is doing."),
        "start": ("agents", "start", "Start an agent."),
        "stop": ("agents", "stop", "Stop an agent; it stays stopped. Its turn is interrupted."),
        "restart": ("agents", "restart", "Stop an agent and start it again."),
        "kill": ("agents", "kill", "End an agent's processes now; it stays stopped."),
        "interrupt": ("agents", "interrupt", "Cancel the turn that an agent is in."),
        "retry": ("agents", "retry", "End an agent's pause; it tries again now."),
        "pause": ("turns", "pause", "Let an agent begin no more turns."),
        "resume": ("turns", "resume", "Let a paused agent begin turns again."),
        "compact": ("turns", "compact", "Make an agent's session shorter."),
        "new-session": ("turns", "new_session", "Let an agent's next turn forget the others."),
        "waiting": ("waiting", "waiting", "List what waits, why, and what lets it go on."),
        "go-on": ("waiting", "go_on", "Let an agent go on, whatever it waits for."),
        "budget": ("waiting", "budget", "Show or set what may be spent in a day."),
        "turns": ("agents", "turns", "List an agent's turns with what they used."),
        "stats": ("stats", "stats", "Say what turns of the last days came to; CSV too."),
        "rebuild": ("configuration", "rebuild", "Build an agent anew and restart it."),
        "logs": ("agents", "logs", "Show what an agent's harness wrote."),
        "watch": ("watch", "watch", "Watch an agent think and use its tools, live."),
    },
    "Mail": {
        "send": ("mail", "send", "Send a message to an agent."),
        "inbox": ("mail", "inbox", "Show mail to you; mark it handled; wait for more."),
        "messages": ("mail", "messages", "List the newest messages between all parties."),
        "recipients": ("mail", "recipients", "Say whom an agent may write to."),
        "requeue": ("mail", "requeue", "Deliver a dead message again."),
    },
    "Questions": {
        "questions": ("questions", "questions", "List what agents ask you and each other."),
        "answer": ("questions", "answer", "Answer a question of an agent."),
        "cancel-question": ("questions", "cancel_question", "End a question unanswered."),
    },
    "Approvals": {
        "pending": ("approvals", "pending", "List what waits for your decision."),
        "approvals": ("approvals", "approvals", "List all approvals, newest first."),
        "show": ("configuration", "show_approval", "Show all about an approval, byte for byte."),
        "log": ("configuration", "log", "Show what the build of a proposal printed."),
        "cancel-build": ("configuration", "cancel_build", "End the build of a proposal."),
        "approve": ("approvals", "approve", "Approve exactly what you are shown."),
        "deny": ("approvals", "deny", "Deny, with a note for the one who asked."),
        "withdraw": ("approvals", "withdraw", "Take a request back."),
        "spawn": ("approvals", "spawn", "Request an agent and approve it at once."),
        "request-spawn": ("approvals", "request_spawn", "Request an agent; decide later."),
    },
    "Configurations": {
        "config": ("configuration", "config", "Check configurations anywhere; look into them."),
        "history": ("configuration", "history", "List what an agent ran, and who decided."),
        "rollback": ("configuration", "rollback", "Propose what an agent ran before."),
        "repos": ("configuration", "repos", "List the configuration repositories."),
        "meta": ("configuration", "meta", "List every successful deploy."),
        "inputs": ("configuration", "inputs", "List or update what agents are built from."),
        "secret": ("secrets", "secret", "Set, list and delete the secrets that they name."),
        "forge": ("forge", "forge", "Show how the forge's copy stands; set its token."),
    },
    "This host": {
        "import": ("migration", "import_hive", "Bring over a hive of the older system."),
        "metrics-token": ("stats", "metrics_token", "Make the token that may read /metrics."),
        "doctor": ("doctor", "doctor", "Say what this host can and cannot do, and how to mend it."),
        "completion": ("shell", "completion", "Print the completion script of a shell."),
        "version": ("shell", "version", "Print the version of hive, and of the daemon."),
    },
}

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 a bug, 2 wrong use or refused input, 3 no daemon answers, "
    "4 forbidden, 5 not found, 6 conflict (look again), 7 unavailable, 130 interrupted."
)


class Program(click.Group):
    """`hive`: finds verbs by name without importing the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the help."""
        return [name for verbs in VERBS.values() for name in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one verb and return the verb; None for an unknown one."""
        for verbs in VERBS.values():
            if cmd_name in verbs:
                module, attribute, _ = verbs[cmd_name]
                return getattr(importlib.import_module(f"hyperhive.cli.{module}"), attribute)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs under the headings of VERBS."""
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl([(name, line) for name, (_, _, line) in verbs.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the exit codes mean."""
        formatter.write_paragraph()
        formatter.write_text(EXIT_CODES)


@click.command(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@options.attach
@click.pass_context
def root(ctx: click.Context, **before: Any) -> None:
    """Run a swarm of coding agents on this host: sandboxed, durable, approved by you.

    Start with `hive up`, or with `hive up --demo` to see the whole story without a model. Then
    open the page that it names, or use the verbs below from a second terminal. A hive is one
    directory: --home or HIVE_HOME names it, else the default of your user is used.

    Every verb takes --json, and `hive VERB --help` says more about it.
    """
    ctx.obj = before


def run(arguments: list[str]) -> int:
    """Run *arguments* and return the exit code; a bug leaves as its exception."""
    as_json = "--json" in arguments
    try:
        code = root.main(args=arguments, prog_name="hive", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return problems.EXIT_CODE[errors.ErrorKind.INVALID]
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "hive"
        _say(as_json, "invalid", error.format_message(), f"try: {command} --help")
        return problems.EXIT_CODE[errors.ErrorKind.INVALID]
    except click.ClickException as error:
        _say(as_json, "invalid", error.format_message())
        return problems.EXIT_CODE[errors.ErrorKind.INVALID]
    except errors.HiveError as error:
        _say(as_json, error.kind.value, error.message)
        return problems.EXIT_CODE[error.kind]
    except client.NoDaemon as error:
        _say(as_json, "no_daemon", str(error))
        return problems.EXIT_NO_DAEMON
    except client.DaemonBug as error:
        _say(as_json, "bug", str(error))
        return problems.EXIT_BUG
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    return code if isinstance(code, int) else 0


def _say(as_json: bool, kind: str, message: str, hint: str = "") -> None:
    from hyperhive.cli import show

    if as_json:
        said = json.dumps({"error": {"kind": kind, "message": message}})
    else:
        said = "hive: " + show.clean(message, lines=True) + (f"\n{hint}" if hint else "")
    sys.stderr.write(said + "\n")
