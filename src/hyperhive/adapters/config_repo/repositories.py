"""Puts the configuration repositories of one hive together."""

from __future__ import annotations

import dataclasses
import pathlib

from hyperhive import ports
from hyperhive.adapters.config_repo import applied, git, importer, locks, meta


@dataclasses.dataclass(frozen=True, slots=True)
class Repositories:
    """The applied repositories and meta of one hive."""

    config: applied.GitConfigRepos
    meta: meta.GitMeta


def open_repositories(
    home: pathlib.Path,
    *,
    processes: ports.Processes,
    one_shots: ports.OneShots,
    clock: ports.Clock,
    render: meta.Render | None = None,
    relock: meta.Relock | None = None,
) -> Repositories:
    """Make both over one set of locks. *render* and *relock* add files to meta (`meta.Render`)."""
    program = git.Git(processes, never=(home / "proposed",))
    held = locks.Locks(home / "run" / "locks")
    quarantine = home / "run" / "import"
    return Repositories(
        config=applied.GitConfigRepos(
            home,
            git=program,
            locks=held,
            importer=importer.Importer(one_shots, program, clock, quarantine),
            clock=clock,
        ),
        meta=meta.GitMeta(
            home,
            git=program,
            locks=held,
            clock=clock,
            render=render or meta.render_nothing,
            relock=relock or meta.relock_nothing,
        ),
    )
