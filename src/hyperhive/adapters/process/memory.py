"""Host programs that exist only in a test's imagination: scripted answers, recorded calls."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from hyperhive import ports
from hyperhive.domain import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What a program was run with."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    cwd: pathlib.Path | None


Answer = ports.ProcessResult | Callable[[Call], ports.ProcessResult] | None
"""A fixed result, one that is worked out from the call, or None: it never ends."""


class MemoryProcesses:
    """Answers the commands that it was told of; any other is a program that is missing."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._answers: list[tuple[tuple[str, ...], Answer]] = []

    def answer(self, *prefix: str, result: Answer) -> None:
        """Answer commands that begin with *prefix*; the newest matching answer wins."""
        self._answers.insert(0, (prefix, result))

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
    ) -> ports.ProcessResult:
        """Give the scripted answer. See `ports.Processes`."""
        call = Call(tuple(argv), dict(env or {}), _content(stdin), cwd)
        self.calls.append(call)
        # A real program takes at least one turn of the loop.
        await asyncio.sleep(0)
        answer = self._find(call.argv)
        if answer is None:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError as error:
                raise errors.unavailable(
                    f"cannot finish {argv[0]}: it took longer than {timeout:g} s and was ended"
                ) from error
        assert answer is not None
        result = answer if isinstance(answer, ports.ProcessResult) else answer(call)
        if len(result.stdout) + len(result.stderr) > output_limit:
            raise errors.unavailable(
                f"cannot use the output of {argv[0]}: more than {output_limit} bytes"
            )
        if on_line is not None:
            for output in (result.stdout, result.stderr):
                for line in output.splitlines():
                    on_line(line.decode("utf-8", "replace"))
        return result

    def _find(self, argv: tuple[str, ...]) -> Answer:
        for prefix, answer in self._answers:
            if argv[: len(prefix)] == prefix:
                return answer
        raise errors.unavailable(f"cannot run {argv[0]}: the program is missing; install it")


def _content(stdin: bytes | pathlib.Path) -> bytes:
    return stdin if isinstance(stdin, bytes) else stdin.read_bytes()
