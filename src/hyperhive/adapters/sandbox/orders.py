"""The orders for the programs `launcher`, `entry` and `one_shot_program`.

They run isolated and import nothing of ours, so these shapes are the contract. They are
handed over with `marshal`: both ends are one interpreter, and it costs no import.
"""

from __future__ import annotations

import contextlib
import marshal
import os
from collections.abc import Iterator
from typing import Any, TypedDict

Option = str | dict[str, Any]
"""A word for bwrap, or what the launcher makes one of: ``{"source": path}`` of the host,
``{"text": content}`` or ``{"fd": name}`` as a descriptor, ``{"root": true}`` for the overlay."""


class Overlay(TypedDict):
    """The layers of a root."""

    lowers: list[str]
    """The uppermost first."""
    top: str
    """The directory that holds ``upper`` and ``work``; empty: nothing can be written (one-shots
    only)."""
    upper: str
    work: str


class StartOrder(TypedDict):
    """What `launcher` is told."""

    bwrap: str
    argv: list[str]
    options: list[Option]
    uid: int | None
    """Become this host uid and gid first; None: run as we are, without privileges."""
    gid: int | None
    cgroups: list[str]
    """Directories to join before anything else."""
    overlay: Overlay | None
    log: str
    status: str
    record: str
    facts: str
    """One line: what `records.Record` holds beside the processes, as JSON."""
    processes: int
    ports: list[int]
    private_fds: list[int]
    """Descriptors for the launcher alone: the socket for the listeners, the agent's lock."""
    seccomp: bytes


class OneShotOrder(TypedDict):
    """What `one_shot_program` is told."""

    parent: int
    """The daemon's pid: the program ends with it."""
    bwrap: str
    argv: list[str]
    options: list[Option]
    """As for a start; ``{"source": path, "writable": true}`` is shown under the command's ids
    when there is a ``range``."""
    ordinary: bool
    """Without privileges: ``uid`` and ``range`` mean nothing."""
    uid: int
    range: tuple[int, int] | None
    """First host id and how many belong to the command."""
    as_root: bool
    """Be the first of ``range``, as uid 0 of a namespace."""
    overlay: Overlay | None
    cgroups: list[str]
    rlimits: dict[str, int]
    status: int
    """A descriptor to write to: who runs, and how it went."""
    stdin: int
    """A descriptor to feed the command from, or -1: it gets the program's own."""
    stdout: int
    """A descriptor to write its output to, or -1: the program's own."""
    output_limit: int
    pass_fds: list[int]
    seccomp: bytes


class EntryOrder(TypedDict):
    """What `entry` is told: ``ports`` to open, or else ``argv`` to run."""

    pid: int
    start_time: int
    socket: int
    ports: list[int]
    argv: list[str]
    env: dict[str, str]
    cwd: str
    uid: int
    cgroups: list[str]
    seccomp: bytes


@contextlib.contextmanager
def written(order: StartOrder | EntryOrder | OneShotOrder) -> Iterator[int]:
    """Lend a descriptor from which *order* can be read; it has no name on disk."""
    fd = os.memfd_create("order")
    try:
        with open(fd, "wb", closefd=False) as stream:
            stream.write(marshal.dumps(dict(order)))
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)
