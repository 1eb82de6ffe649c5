"""Logs of builds as they are written: one file an approval, kept with the hive.

A log is noise and no fact: nothing announces a new line, so whoever watches a build that is
under way looks again a few times a second; of a build that has ended the log is read once.
"""

from __future__ import annotations

import asyncio
import pathlib
import re
from collections.abc import AsyncIterator
from typing import Final

from hyperhive import ports
from hyperhive.domain import errors, events, ids, proposals
from hyperhive.services import visible

LINES_MAX: Final = 5000
LINE_MAX: Final = 4000
"""Characters of a line that are shown."""
_BATCH_BYTES: Final = 256 * 1024
_TAIL_BYTES: Final = 4 * 1024 * 1024
_LOOK_SECONDS: Final = 0.25
# Colours and cursor moves of installers (ECMA-48); every other control character is shown.
_SEQUENCES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"
)


class BuildLogs:
    """Reads ``<directory>/<approval>.log``."""

    def __init__(self, store: ports.Store, directory: pathlib.Path) -> None:
        self._store = store
        self._directory = directory

    async def read(
        self, approval: int, *, lines: int, follow: bool
    ) -> AsyncIterator[tuple[list[str], bool]]:
        """Yield lines as they come, and whether the build has ended: the last item says so.

        First the last *lines* lines. Without *follow* that is all. NOT_FOUND for an approval
        that has nothing to build.
        """
        log = _Log(self._directory / f"{ids.ApprovalId(approval)}.log")
        first = True
        while True:
            number = self._store.number()
            # Before the log: what was written until the end is then read below.
            ended = await self._has_ended(approval)
            new, more = await asyncio.to_thread(log.next_lines, ended, lines if first else None)
            ended = ended and not more
            if new or first or ended:
                yield new, ended
            first = False
            if ended or not (follow or more):
                return
            if not more:
                await self._wait(number)

    async def _wait(self, number: int) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._store.changed(events.DEPLOYS, number)
        except TimeoutError:
            return

    async def _has_ended(self, approval: int) -> bool:
        proposal = await self._store.read(lambda tx: tx.get_proposal(ids.ApprovalId(approval)))
        if proposal is None:
            raise errors.not_found(f"cannot show a build log: approval {approval} has no build")
        return proposal.build not in proposals.UNDER_WAY


class _Log:
    """The place in one file up to which it was read."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._offset = 0

    def next_lines(self, ended: bool, tail: int | None) -> tuple[list[str], bool]:
        """What was added, in whole lines unless it has *ended*, and whether there is more.

        With *tail* only that many of the last lines.
        """
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._offset:
                    # A build that was begun again writes its log anew.
                    self._offset = 0
                if tail is not None:
                    self._offset = max(0, size - _TAIL_BYTES)
                file.seek(self._offset)
                raw = file.read(_BATCH_BYTES if tail is None else _TAIL_BYTES)
        except FileNotFoundError:
            return [], False
        at_end = ended and self._offset + len(raw) >= size
        whole = raw.rfind(b"\n") + 1
        # An endless line comes in pieces.
        complete = raw if at_end or (not whole and len(raw) >= _BATCH_BYTES) else raw[:whole]
        self._offset += len(complete)
        lines = [_clean(line) for line in complete.decode("utf-8", "replace").split("\n")]
        if complete.endswith(b"\n") or not complete:
            lines.pop()
        if tail is not None:
            lines = lines[len(lines) - min(tail, len(lines)) :]
        return lines, bool(complete) and self._offset < size


def _clean(line: str) -> str:
    # Of a progress bar that was drawn over and over, the last state.
    last = _SEQUENCES.sub("", line).rstrip("\r").rpartition("\r")[2]
    cut = f" … ({len(last) - LINE_MAX} more characters)" if len(last) > LINE_MAX else ""
    return visible.show_text(last[:LINE_MAX]) + cut
