"""Throw-away sandboxes that exist only in a test's imagination: scripted answers, kept calls."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable, Sequence

from hyperhive import ports
from hyperhive.domain import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What was run."""

    order: ports.OneShot
    stdin: bytes


Answer = (
    ports.ProcessResult | Callable[[Call], ports.ProcessResult | Awaitable[ports.ProcessResult]]
)
"""A fixed result, or one that is worked out from the call, perhaps after a while."""


class MemoryOneShots:
    """Answers the commands that it was told of; any other does not exist inside."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._answers: list[tuple[tuple[str, ...], Answer]] = []

    def answer(self, *prefix: str, result: Answer) -> None:
        """Answer commands that begin with *prefix*; the newest matching answer wins."""
        self._answers.insert(0, (prefix, result))

    async def probe(self) -> list[ports.Finding]:
        """Say that it is not real."""
        text = "in memory: isolates nothing"
        return [ports.Finding("one-shot sandboxes", ports.Severity.OK, text)]

    async def run(
        self,
        order: ports.OneShot,
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        output_limit: int = 16 * 1024**2,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> ports.ProcessResult:
        """Give the scripted answer. See `ports.OneShots`."""
        what = f"{order.argv[0]} in a throw-away sandbox"
        given = stdin.read_bytes() if isinstance(stdin, pathlib.Path) else stdin  # noqa: ASYNC240
        for bind in order.binds:
            if not bind.source.exists():
                raise errors.unavailable(f"cannot bind {bind.source}: it does not exist")
        call = Call(order, given)
        self.calls.append(call)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0)
                answer = self._find(order.argv, what)
                if not isinstance(answer, ports.ProcessResult):
                    answer = answer(call)
                    if not isinstance(answer, ports.ProcessResult):
                        answer = await answer
        except TimeoutError as error:
            raise errors.unavailable(
                f"cannot finish {what}: it took longer than {timeout:g} s and was ended"
            ) from error
        if len(answer.stdout) + len(answer.stderr) > output_limit:
            raise errors.unavailable(
                f"cannot use the output of {what}: more than {output_limit} bytes"
            )
        if stdout is not None:
            _write(stdout, answer.stdout)
            answer = dataclasses.replace(answer, stdout=b"")
        if on_line is not None:
            for output in (answer.stdout, answer.stderr):
                for line in output.splitlines():
                    on_line(line.decode("utf-8", "replace"))
        return answer

    def _find(self, argv: tuple[str, ...], what: str) -> Answer:
        for prefix, answer in self._answers:
            if argv[: len(prefix)] == prefix:
                return answer
        raise errors.unavailable(f"cannot run {what}: no such program inside")


def _write(path: pathlib.Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
