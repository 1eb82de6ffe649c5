"""Loops outlive what is only for now: a full disk, no descriptors left, a host that is stuck.

A store that is broken for good ends the daemon by itself (``on_broken``); a loop need not.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from hyperhive import ports
from hyperhive.domain import errors

PAUSES: Final = (1.0, 2.0, 5.0)
"""Seconds before the next attempt. The last repeats: so late a loop finds that there is room."""


async def keep_trying(
    step: Callable[[], Awaitable[None]],
    clock: ports.Clock,
    log: structlog.typing.FilteringBoundLogger,
    what: str,
) -> None:
    """Carry out *step*, and again after a pause while it is UNAVAILABLE; bugs are raised.

    So is every other refusal: nobody asked for what a loop does, so it cannot be wrong.
    An OSError is the host's word that it cannot just now.

    *step* must look at the facts anew each time: half of it may have been done.
    """
    for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
        try:
            await step()
        except errors.HiveError as error:
            if error.kind is not errors.ErrorKind.UNAVAILABLE:
                raise
            reason = error.message
        except OSError as error:
            reason = str(error)
        else:
            return
        log.warning("cannot go on yet", task=what, reason=reason, again_in=pause)
        await clock.sleep(pause)
