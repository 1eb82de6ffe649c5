"""One step of a build: a script in a throw-away sandbox, with its limits, its log, its end."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.builder import recipes, shelf
from hyperhive.domain import errors

TIMEOUT: Final = 1800.0
LIMITS: Final = ports.Limits(memory_bytes=4 * 1024**3, cpus=2.0, processes=1024)
OUTPUT_MAX: Final = 2 * 1024**3
"""What one step may leave on disk."""
LOG_MAX: Final = 64 * 1024**2
REPORT_MAX: Final = 16 * 1024**2
_LOOK: Final = 2.0
"""Seconds between two looks at the size."""
_REMEMBERED: Final = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What is run, and on what."""

    kind: str
    script: str
    words: tuple[str, ...] = ()
    """The script's arguments."""
    tell: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Files of /run/build."""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    binds: tuple[ports.Bind, ...] = ()
    lowers: tuple[pathlib.Path, ...] | None = None
    upper: pathlib.Path | None = None


class Bench:
    """Runs steps. *env* reaches them all: proxies, nothing that is secret."""

    def __init__(
        self,
        one_shots: ports.OneShots,
        clock: ports.Clock,
        env: Mapping[str, str],
        ca: pathlib.Path = pathlib.Path("/etc/ssl/certs/ca-certificates.crt"),
    ) -> None:
        self._one_shots = one_shots
        self._clock = clock
        self._env = env
        self._ca = ca

    async def run(self, step: Step, place: pathlib.Path, log: Callable[[str], None]) -> None:
        """Run a step in the workshop *place*; what it reports lies in ``out`` below it.

        `HiveError` INVALID when what was asked for cannot be had, UNAVAILABLE when the world was
        in the way; the message is the reason alone.
        """
        told, out = place / f"{step.kind}.told", place / "out"
        told.mkdir(mode=0o755)
        out.mkdir(mode=0o755, exist_ok=True)
        ca = self._ca.read_text(encoding="utf-8") if self._ca.exists() else ""
        for name, text in {"ca.crt": ca, **step.tell}.items():
            (told / name).write_text(text, encoding="utf-8")
            (told / name).chmod(0o755)
        order = ports.OneShot(
            argv=("/bin/sh", "-eu", "-c", step.script, "build", *step.words),
            env={**recipes.ENVIRONMENT, **self._env, **step.env},
            binds=(
                ports.Bind(told, "/run/build"),
                ports.Bind(out, "/run/out", writable=True),
                *step.binds,
            ),
            lowers=step.lowers,
            upper=step.upper,
            as_root=step.upper is not None,
            network=True,
            limits=LIMITS,
            # npm's engine reserves far more address space than it uses.
            address_space=False,
            file_bytes=OUTPUT_MAX,
        )
        last: collections.deque[str] = collections.deque(maxlen=_REMEMBERED)

        def hear(line: str) -> None:
            text = recipes.plain(line)
            last.append(text)
            log(f"{step.kind}: {text}")

        result = await self._watched(order, place, hear)
        if result.code == 0:
            return
        lines = [*last, *result.stderr.decode("utf-8", "replace").splitlines()[-1:]]
        said = f"{step.kind}: {recipes.reason(lines)}"
        if recipes.is_stale(lines):
            said += "; the archive has moved on: update the input 'apt' and build again"
        if recipes.is_unreachable(lines):
            raise errors.unavailable(said)
        raise errors.invalid(said)

    async def _watched(
        self, order: ports.OneShot, place: pathlib.Path, hear: Callable[[str], None]
    ) -> ports.ProcessResult:
        """Run, and end what fills the disk."""
        failures: list[BaseException] = []
        result = None
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(place))
                result = await self._one_shots.run(
                    order, timeout=TIMEOUT, output_limit=LOG_MAX, on_line=hear
                )
                watch.cancel()
        except* errors.HiveError as caught:
            failures.extend(caught.exceptions)
        if result is None:
            raise failures[0]
        return result

    async def _watch(self, place: pathlib.Path) -> None:
        while True:
            await self._clock.sleep(_LOOK)
            await self.check_size(place)

    async def check_size(self, place: pathlib.Path) -> None:
        """`HiveError` INVALID when a workshop holds more than it may."""
        if await asyncio.to_thread(shelf.size_of, place) > OUTPUT_MAX:
            limit = OUTPUT_MAX // 1024**3
            raise errors.invalid(
                f"cannot keep it: it takes more than {limit} GiB on disk; ask for fewer packages"
            )


def read_report(path: pathlib.Path) -> str:
    """Read what a build wrote: a plain file of a sane size, or it is refused as INVALID."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise errors.invalid(f"cannot read the report of the build: {error.strerror}") from error
    with os.fdopen(fd, "rb") as stream:
        content = stream.read(REPORT_MAX + 1)
    if len(content) > REPORT_MAX:
        raise errors.invalid("cannot read the report of the build: it is too long")
    return content.decode("utf-8", "replace")
