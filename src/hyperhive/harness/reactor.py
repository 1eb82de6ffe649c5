"""The one loop of the harness: file descriptors, timers and signals.

Rule: it sleeps in the kernel until something happens. An idle harness never
wakes up, and nothing here needs a lock because there is one thread.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time
from typing import Callable, Dict, List, Optional, Tuple

Callback = Callable[[], None]


class Timer:
    """One call in the future; `cancel` is harmless at any time."""

    def __init__(self, callback: Callback) -> None:
        self._callback: Optional[Callback] = callback

    def cancel(self) -> None:
        """Make sure that it does not ring any more."""
        self._callback = None

    def ring(self) -> None:
        """Call back once, unless cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    @property
    def is_live(self) -> bool:
        """Whether it may still ring."""
        return self._callback is not None


class Reactor:
    """Waits for descriptors, timers and signals and calls back, one at a time."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: List[Tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._signals: Dict[int, Callback] = {}
        self._running = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, self._take_signals, None)

    def watch(self, fd: int, read: Optional[Callback], write: Optional[Callback]) -> None:
        """Call *read* and *write* when *fd* is ready, in place of what was watched before."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = fd in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events, (read, write))
        else:
            self._selector.register(fd, events, (read, write))

    def unwatch(self, fd: int) -> None:
        """Forget *fd*; must come before it is closed."""
        self.watch(fd, None, None)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call back once after *seconds*."""
        timer = Timer(callback)
        if len(self._timers) > 64:
            # Cancelled ones with a far deadline would else pile up, one a turn.
            self._timers = [entry for entry in self._timers if entry[2].is_live]
            heapq.heapify(self._timers)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def on_signal(self, number: int, callback: Callback) -> None:
        """Call back in the loop, never in the middle of something, when the signal came."""
        self._signals[number] = callback
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(number, lambda _number, _frame: None)

    def stop(self) -> None:
        """Make `run` return after the present callback; may be called from a callback only."""
        self._running = False

    def wake(self, callback: Callback) -> None:
        """Call back soon; safe from another thread (tests)."""
        heapq.heappush(self._timers, (0.0, next(self._order), Timer(callback)))
        os.write(self._wake_write, b"\0")

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            for key, mask in self._selector.select(self._pause()):
                read, write = key.data
                # A callback may have taken this descriptor away, or given it to another.
                if mask & selectors.EVENT_READ and read and self._is_current(key):
                    read()
                if mask & selectors.EVENT_WRITE and write and self._is_current(key):
                    write()
            self._ring()

    def close(self) -> None:
        """Give back the descriptors."""
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _is_current(self, key: selectors.SelectorKey) -> bool:
        now = self._selector.get_map().get(key.fd)
        return now is not None and (now.data is key.data or now.data[0] == key.data[0])

    def _pause(self) -> Optional[float]:
        while self._timers and not self._timers[0][2].is_live:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].ring()

    def _take_signals(self) -> None:
        try:
            numbers = os.read(self._wake_read, 512)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            callback = self._signals.get(number)
            if callback is not None:
                callback()
