"""What the host keeps and runs for us: secrets and programs."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Secrets(Protocol):
    """A few short secrets by name, readable by the daemon's user alone, outside the store."""

    async def read(self, name: str) -> str | None:
        """The secret of that name, or None when there is none."""
        ...

    async def write(self, name: str, value: str) -> None:
        """Keep *value* durably under *name* before returning."""
        ...

    async def delete(self, name: str) -> None:
        """Forget the secret of that name; no error when there is none."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessResult:
    """The end of a host command."""

    code: int
    stdout: bytes
    stderr: bytes


class Processes(Protocol):
    """The one place that starts host programs. The environment is built from nothing."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | pathlib.Path = b"",
        cwd: pathlib.Path | None = None,
        timeout: float = 60.0,
        pass_fds: Sequence[int] = (),
        output_limit: int = 16 * 1024 * 1024,
        on_line: Callable[[str], None] | None = None,
    ) -> ProcessResult:
        """Run to the end and always reap; on time-out the process group is killed, UNAVAILABLE.

        *stdin* may be a file, which the program reads by itself: nothing of it is held here.
        """
        ...
