"""Where a build works: an exported commit, and its log."""

from __future__ import annotations

import pathlib
from contextlib import AbstractContextManager
from typing import Protocol

from hyperhive.domain import ids


class BuildLog(Protocol):
    """The log of one build, appended to; what is beyond its limit is dropped and said so."""

    def line(self, text: str) -> None:
        """Add one line; control characters are replaced."""
        ...


class BuildSpace(Protocol):
    """Directories and logs of builds, the daemon's alone."""

    async def fresh(self, approval: ids.ApprovalId) -> pathlib.Path:
        """An empty directory for this build; what an earlier attempt left is gone."""
        ...

    async def read(self, directory: pathlib.Path) -> dict[str, bytes]:
        """All regular files below it by their relative names."""
        ...

    async def discard(self, approval: ids.ApprovalId) -> None:
        """Remove the directory, not the log."""
        ...

    def open_log(self, approval: ids.ApprovalId) -> AbstractContextManager[BuildLog]:
        """Begin the log of a build attempt; an earlier attempt's lines stay above."""
        ...

    def log_file(self, approval: ids.ApprovalId) -> pathlib.Path:
        """Where the log lies, for following it."""
        ...
