"""Tool calls in flight and their results, by key, so that asking again is harmless.

A call belongs to its turn, not to the connection that brought it: when the
connection breaks, the call goes on and a repetition of its key joins it or gets
what it returned. So mail that a `recv` has leased cannot get lost between the
daemon and the model.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from hyperhive.domain import errors, ids

Answer = dict[str, Any] | None

KEPT: Final = 256
"""Finished calls of one turn whose results are kept; the oldest go first."""
KEPT_BYTES: Final = 8 * 1024 * 1024
RUNNING_MAX: Final = 64


class Calls:
    """The calls of one agent. Only its newest turn has any."""

    def __init__(self) -> None:
        self._turn: ids.TurnId | None = None
        self._calls: dict[str, _Call] = {}
        self._cut: set[str] = set()

    async def join(
        self,
        turn: ids.TurnId,
        key: str,
        message: dict[str, Any],
        start: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """Return what the first call of *key* returns; *start* makes it if there was none.

        `HiveError` INVALID when the key came with another message, CONFLICT when
        the call was ended from outside, UNAVAILABLE when too many run.
        """
        if turn != self._turn:
            await self.end()
            self._turn = turn
            self._cut.clear()
        digest = hashlib.sha256(msgspec.json.encode(message, order="sorted")).digest()
        call = self._calls.get(key)
        if call is None:
            if sum(not known.answer.done() for known in self._calls.values()) >= RUNNING_MAX:
                raise errors.unavailable(
                    f"cannot call: {RUNNING_MAX} calls of this turn are running already"
                )
            call = self._calls[key] = _Call(digest, message.get("id"), start)
            self._drop_oldest()
        if call.digest != digest:
            raise errors.invalid(f"cannot call: the key {key!r} was used for another message")
        # Shielded: the one who waits may go, the call stays for whoever asks again.
        return await asyncio.shield(call.answer)

    async def cancel(self, turn: ids.TurnId, request: Any) -> None:
        """End the running call that has the JSON-RPC id *request* (notifications/cancelled)."""
        if turn == self._turn:
            await self._end(
                {
                    key: call
                    for key, call in self._calls.items()
                    if call.request == request and type(call.request) is type(request)
                }
            )

    async def end(self, turn: ids.TurnId | None = None) -> frozenset[str]:
        """End what runs; with *turn* only if that is the newest.

        Returns the keys of all calls of that turn that were ended without an answer: what
        they did, nobody has heard of.
        """
        if turn is not None and turn != self._turn:
            return frozenset()
        calls, self._calls = self._calls, {}
        await self._end(calls)
        return frozenset(self._cut)

    async def _end(self, calls: Mapping[str, _Call]) -> None:
        running = {key: call for key, call in calls.items() if not call.task.done()}
        self._cut.update(running)
        for call in running.values():
            call.task.cancel()
        await asyncio.gather(*(call.task for call in running.values()), return_exceptions=True)
        for call in running.values():
            call.fail_unless_done()

    def _drop_oldest(self) -> None:
        done = [key for key, call in self._calls.items() if call.answer.done()]
        size = sum(self._calls[key].size for key in done)
        for key in done:
            if len(self._calls) <= KEPT and size <= KEPT_BYTES:
                return
            size -= self._calls.pop(key).size


class _Call:
    def __init__(self, digest: bytes, request: Any, start: Callable[[], Awaitable[Answer]]) -> None:
        self.digest = digest
        self.request = request
        self.size = 0
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Answer] = loop.create_future()
        # Nobody may be left to look at it; that is no reason for a warning.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        # Owned by `Calls`, which ends it: it must outlive the connection that brought it.
        self.task = asyncio.create_task(self._run(start))  # noqa: TID251

    async def _run(self, start: Callable[[], Awaitable[Answer]]) -> None:
        try:
            answer = await start()
            self.size = len(msgspec.json.encode(answer))
            self.answer.set_result(answer)
        except asyncio.CancelledError:
            self.fail_unless_done()
            raise
        except Exception as error:  # noqa: BLE001 - raised again in whoever waits for the answer
            self.answer.set_exception(error)

    def fail_unless_done(self) -> None:
        """Tell who waits that there is no answer; a task that never began cannot do it itself."""
        if not self.answer.done():
            self.answer.set_exception(errors.conflict("cannot finish the call: it was ended"))
