"""Keeps the forge's copy in step (S49-S53): level-triggered, so a lost mark costs only time.

One worker. At start, every ten minutes and whenever somebody marks the topic MIRROR it compares
the refs that we have with those that the forge has confirmed; what differs is pushed, many
changes in one go. A failure is tried again after 1 s and then longer, up to 5 min, or when the
forge wants to be asked again. Nothing waits for this loop: a deploy does not know of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from hyperhive import ports
from hyperhive.domain import events
from hyperhive.services import mirroring, waiting

PERIOD: Final = 600.0
"""Seconds after which the forge is asked even if nothing has changed here."""
PAUSE_MIN: Final = 1.0
PAUSE_MAX: Final = 300.0
_MANY: Final = 50
"""So many refs take the forge some 10 s: worth saying before."""

Targets = Callable[[], Awaitable[Sequence[ports.MirrorTarget]]]


@dataclasses.dataclass(slots=True)
class _Tries:
    """Failures in a row, and when it may be tried again."""

    failures: int = 0
    retry_at: float = 0.0


@dataclasses.dataclass(slots=True)
class _Work:
    """What the loop knows of one repository."""

    confirmed: Mapping[str, str] | None = None
    """What the forge had after the last success; None before one."""
    due: bool = True
    """To be compared with the forge although nothing has changed here."""
    tries: _Tries = dataclasses.field(default_factory=_Tries)


class MirrorLoop:
    """Pushes *targets* to *mirror* and keeps *board* true."""

    def __init__(
        self,
        mirror: ports.Mirror | None,
        targets: Targets,
        board: mirroring.Mirroring,
        store: ports.Store,
        clock: ports.Clock,
        log: structlog.typing.FilteringBoundLogger,
        *,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """*mirror* is None when no forge is configured; *targets* pins the refs of each.

        *jitter* gives numbers from 0 to 1; by default random ones.
        """
        self._mirror = mirror
        self._targets = targets
        self._board = board
        self._store = store
        self._clock = clock
        self._log = log
        self._jitter = jitter or random.SystemRandom().random
        self._works: dict[str, _Work] = {}
        self._forge = _Tries()
        self._looks = _Tries()
        self._look_at = 0.0
        self._next_at = 0.0
        self._tokens = 0

    async def run(self) -> None:
        """Until cancelled. Without a forge nothing ever wakes it."""
        if self._mirror is None:
            await asyncio.Event().wait()
        while True:
            number = self._store.number()
            try:
                await self.run_once()
            except Exception:  # noqa: BLE001 - a copy for convenience must not end the daemon
                # Also a repository that is being destroyed under us, or a full disk.
                self._later(self._looks, None)
                self._log.exception("cannot look at what to mirror")
                await self._clock.sleep(self._looks.retry_at - self._clock.monotonic())
                continue
            self._looks = _Tries()
            pause = max(self._next_at - self._clock.monotonic(), 0.0)
            await waiting.first(
                self._store.changed(events.MIRROR, number), self._clock.sleep(pause)
            )

    async def run_once(self) -> None:
        """Compare, and push what is due now."""
        targets = {target.name: target for target in await self._targets()}
        self._take_up(targets)
        wanted = [target for target in targets.values() if self._wanted(target)]
        now = self._clock.monotonic()
        due = [target for target in wanted if self._tries(target).retry_at <= now]
        if due and self._forge.retry_at <= now:
            # Those that fail come last: they may take all the time that there is.
            await self._push(sorted(due, key=lambda target: self._tries(target).failures))
        await self._board.announce()
        retries = [self._tries(target).retry_at for target in wanted if self._wanted(target)]
        again = max(self._forge.retry_at, min(retries, default=self._look_at))
        self._next_at = min(self._look_at, again)

    def _take_up(self, targets: Mapping[str, ports.MirrorTarget]) -> None:
        """Bring works and board up to date with what there is."""
        self._works = {name: self._works.get(name, _Work()) for name in targets}
        self._board.retain(targets)
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + PERIOD
            for work in self._works.values():
                work.due = True
        if self._tokens != self._board.tokens_set:
            self._tokens = self._board.tokens_set
            self._forge = _Tries()
            for work in self._works.values():
                work.due, work.tries = True, _Tries()
        for name, target in targets.items():
            confirmed = self._works[name].confirmed
            if confirmed is not None and confirmed != target.refs:
                self._board.mark_behind(name, _lag(confirmed, target.refs))

    def _wanted(self, target: ports.MirrorTarget) -> bool:
        work = self._works[target.name]
        return work.due or work.confirmed != target.refs

    def _tries(self, target: ports.MirrorTarget) -> _Tries:
        return self._works[target.name].tries

    async def _push(self, due: Sequence[ports.MirrorTarget]) -> None:
        assert self._mirror is not None
        left = [target.name for target in due]
        try:
            await self._mirror.prepare()
            for target in due:
                fault = await self._sync(self._mirror, target)
                left.remove(target.name)
                if fault in ports.FORGE_WIDE:
                    # Whether the others need to try at all.
                    await self._mirror.prepare()
        except ports.MirrorError as error:
            self._later(self._forge, error.retry_after)
            for name in left:
                # Half of a push may have arrived.
                self._works[name].due = True
                self._board.mark_failed(name, error.message)
            self._log.warning(
                "the forge cannot be used", fault=error.fault.value, reason=error.message
            )
        else:
            self._forge = _Tries()

    async def _sync(self, mirror: ports.Mirror, target: ports.MirrorTarget) -> ports.Fault | None:
        """Push one and note what came of it; the fault, if there was one."""
        name, work = target.name, self._works[target.name]
        if _lag(work.confirmed or {}, target.refs) > _MANY:
            await self._board.announce()
        try:
            changed = await mirror.sync(target)
        except ports.MirrorError as error:
            work.due = True
            self._later(work.tries, error.retry_after)
            self._board.mark_failed(name, error.message)
            self._log.warning(
                "cannot mirror", repository=name, fault=error.fault.value, reason=error.message
            )
            return error.fault
        except Exception:  # noqa: BLE001 - a copy for convenience must not end the daemon
            work.due = True
            self._later(work.tries, None)
            self._board.mark_failed(name, f"cannot mirror {name}: a bug; see the daemon's log")
            self._log.exception("a bug in the mirror", repository=name)
            return None
        work.confirmed, work.due, work.tries = dict(target.refs), False, _Tries()
        self._board.mark_in_step(name)
        if changed:
            self._log.info("mirrored", repository=name, refs=changed)
        return None

    def _later(self, tries: _Tries, retry_after: float | None) -> None:
        # The exponent is bounded, because a forge may be away for months.
        full = min(PAUSE_MIN * 2.0 ** min(tries.failures, 16), PAUSE_MAX)
        pause = max(full * (0.5 + 0.5 * self._jitter()), retry_after or 0.0)
        tries.failures += 1
        tries.retry_at = self._clock.monotonic() + pause


def _lag(confirmed: Mapping[str, str], wanted: Mapping[str, str]) -> int:
    """How many refs differ."""
    names = {*confirmed, *wanted}
    return sum(1 for name in names if confirmed.get(name) != wanted.get(name))
