"""Verbs about configurations of agents that need no daemon."""

from __future__ import annotations

import os
import pathlib
import stat
from typing import Any, Final

import click

from hyperhive.cli import show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import configuration, errors
from hyperhive.wire import problems as wire_problems

_FILES_MAX: Final = 2000
_BYTES_MAX: Final = 64 * 1024 * 1024


@click.group()
def config() -> None:
    """Check and show configurations of agents.

    What agent.toml may say stands in docs/configuration.md.
    """


@config.command()
@click.argument(
    "path", type=click.Path(exists=True, path_type=pathlib.Path), default=".", metavar="[PATH]"
)
@common
def check(call: Invocation, path: pathlib.Path) -> int:
    """Check the agent.toml at PATH: a file, or a directory as it would be committed.

    Works anywhere, without a daemon. A directory (default: the present one) is checked with the
    files that agent.toml names; of a file alone only what it says itself. Everything that is
    wrong is listed with its line. Exit code 0 when it can be used, 2 when it cannot.
    """
    # Only this verb needs the services.
    from hyperhive.services import agent_toml

    try:
        if path.is_dir():
            reading = agent_toml.examine(_read_directory(path))
        else:
            reading = agent_toml.read(_read_file(path), where=path.name)
    except OSError as error:
        raise errors.invalid(f"cannot read {error.filename or path}: {error.strerror}") from error
    found = reading.configuration
    if call.json:
        show.as_json(
            {
                "ok": found is not None,
                "problems": [_view(problem) for problem in reading.problems],
                "warnings": [_view(warning) for warning in reading.warnings],
                "configuration": None if found is None else configuration.to_json(found),
            }
        )
    else:
        for problem in reading.problems:
            show.echo(show.clean(problem))
        for warning in reading.warnings:
            show.echo(f"warning: {show.clean(warning)}")
        if found is not None:
            show.echo("ok: this configuration can be used")
        else:
            count = len(reading.problems)
            show.echo(f"{count} problem{'' if count == 1 else 's'}")
    return 0 if found is not None else wire_problems.EXIT_CODE[errors.ErrorKind.INVALID]


def _view(problem: Any) -> dict[str, Any]:
    return {
        "file": problem.where,
        "line": problem.line or None,
        "key": problem.key,
        "found": problem.found,
        "text": problem.text,
    }


def _read_file(path: pathlib.Path) -> bytes:
    """The content of a regular file; others may never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise errors.invalid(f"cannot check {path}: it is no regular file")
        return file.read(_BYTES_MAX + 1)


def _read_directory(root: pathlib.Path) -> dict[str, bytes]:
    """Every regular file below *root* by its path, without links and ``.git``."""
    files: dict[str, bytes] = {}
    total = 0
    for place, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if name != ".git")
        for name in sorted(names):
            path = pathlib.Path(place, name)
            if path.is_symlink() or not path.is_file():
                continue
            content = _read_file(path)
            files[path.relative_to(root).as_posix()] = content
            total += len(content)
            if len(files) > _FILES_MAX or total > _BYTES_MAX:
                raise errors.invalid(
                    f"cannot check {root}: it has more than {_FILES_MAX} files or "
                    f"{_BYTES_MAX // 1024**2} MiB; name the directory of one configuration"
                )
    return files
