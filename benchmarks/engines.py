"""What the broker benchmark serves: the product's mail, and logs that show what the disk can do.

All engines sit behind the same socket server and the same lines, in a process of their own.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import pathlib
import queue
import threading
from typing import Protocol

from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, agents, events, ids, turns
from hyperhive.services import messaging
from hyperhive.services.loop_breaker import LoopBreaker


def party(number: int) -> ids.AgentId:
    return ids.AgentId(f"{number:012x}")


def turn_of(number: int) -> ids.TurnId:
    return ids.TurnId(f"turn-{number:08x}")


class Engine(Protocol):
    async def open(self, receivers: int) -> None: ...
    async def close(self) -> None: ...
    async def send(self, sender: int, to: int, body: str) -> int:
        """Return the message's id once it is durable."""
        ...

    async def wait(self, receiver: int, seen: int) -> int:
        """Park until there is something newer than *seen* for the receiver."""
        ...

    async def recv(self, receiver: int) -> list[int]:
        """Park until there is mail; lease one message."""
        ...

    async def ack(self, receiver: int) -> int:
        """Acknowledge what is leased."""
        ...


class StoreEngine:
    """The product: `Messaging` on `SqliteStore`."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._path = directory / "hive.db"

    async def open(self, receivers: int) -> None:
        self._clock = SystemClock()
        self._store = await SqliteStore.open(self._path, self._clock)
        self._mail = messaging.Messaging(self._store, self._clock, LoopBreaker(40, 30))
        self._callers = [
            access.Caller(ids.PartyId(f"{number:012x}"), f"s{number}", agents.Role.AGENT, "socket")
            for number in range(0xF000, 0xF100)
        ]
        now = self._clock.now()

        def seed(tx) -> None:
            for number in range(receivers):
                tx.insert_agent(
                    agents.Agent(
                        id=party(number), name=ids.AgentName(f"r{number}"),
                        role=agents.Role.AGENT, slot=tx.next_slot(), created_at=now,
                        wanted=agents.Wanted.RUNNING, epoch=1, phase=agents.Phase.RUNNING,
                        phase_since=now, phase_note="", running_epoch=1, sandbox=None, crashes=0,
                        retry_at=None, turn_state=agents.TurnState.THINKING, turn_since=now,
                        turn_note="", status="", model="", session_id="", session_started=True,
                        start_reason="",
                    )
                )  # fmt: skip
                tx.insert_turn(
                    turns.Turn(
                        id=turn_of(number), agent=party(number), started_at=now, ended_at=None,
                        outcome=turns.Outcome.RUNNING, note="", woke_by="", model="",
                        tool_calls=0, usage=turns.Usage(),
                    )
                )  # fmt: skip

        await self._store.write(seed)

    async def close(self) -> None:
        await self._store.close()

    async def send(self, sender: int, to: int, body: str) -> int:
        return (await self._mail.send(self._callers[sender], f"r{to}", body)).id

    async def wait(self, receiver: int, seen: int) -> int:
        topic = events.inbox_topic(ids.PartyId(party(receiver)))
        return await self._store.changed(topic, seen or self._store.number())

    async def recv(self, receiver: int) -> list[int]:
        got = await self._mail.receive(
            party(receiver), turn_of(receiver), wait_seconds=180, count=1
        )
        return [message.id for message in got]

    async def ack(self, receiver: int) -> int:
        now = self._clock.now()
        turn = turn_of(receiver)
        return len(await self._store.write(lambda tx: messaging.settle(tx, now, turn)))


class LogEngine:
    """An append-only file with group commit: one thread writes what is queued, then fdatasync.

    With *steps* every lease and acknowledgement is appended and waited for too, which is what
    the product promises; without, only sends are durable and the rest is memory.
    """

    def __init__(self, directory: pathlib.Path, steps: bool) -> None:
        self._path = directory / "log"
        self._steps = steps

    async def open(self, receivers: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._number = 0
        self._inboxes: dict[int, collections.deque[int]] = collections.defaultdict(
            collections.deque
        )
        self._last: dict[int, int] = {}
        self._leased: dict[int, int] = {}
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    async def close(self) -> None:
        self._queue.put(None)

    def _write(self) -> None:
        while True:
            batch = [self._queue.get()]
            while True:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            if None in batch:
                return
            os.write(self._fd, b"".join(line for line, _ in batch))
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._done, [future for _, future in batch])

    def _done(self, futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def _append(self, record: dict) -> None:
        future = self._loop.create_future()
        self._queue.put((json.dumps(record).encode() + b"\n", future))
        await future

    async def send(self, sender: int, to: int, body: str) -> int:
        self._number += 1
        number = self._number
        await self._append({"id": number, "from": sender, "to": to, "body": body})
        self._inboxes[to].append(number)
        self._last[to] = number
        waiter = self._waiters.pop(to, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        return number

    async def wait(self, receiver: int, seen: int) -> int:
        seen = seen or self._number
        while self._last.get(receiver, 0) <= seen:
            self._waiters[receiver] = self._loop.create_future()
            await self._waiters[receiver]
        return self._last[receiver]

    async def recv(self, receiver: int) -> list[int]:
        inbox = self._inboxes[receiver]
        while not inbox:
            self._waiters[receiver] = self._loop.create_future()
            await self._waiters[receiver]
        number = inbox.popleft()
        self._leased[receiver] = number
        if self._steps:
            await self._append({"leased": number, "by": receiver})
        return [number]

    async def ack(self, receiver: int) -> int:
        number = self._leased.pop(receiver, None)
        if number is None:
            return 0
        if self._steps:
            await self._append({"handled": number, "by": receiver})
        return 1


def make(name: str, directory: pathlib.Path) -> Engine:
    if name == "store":
        return StoreEngine(directory)
    return LogEngine(directory, steps=name == "log, every step")


async def serve(name: str, receivers: int, directory: pathlib.Path) -> None:
    """Answer lines on ``directory/socket`` until stdin closes."""
    engine = make(name, directory)
    await engine.open(receivers)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            answer = await getattr(engine, request["op"])(*request["args"])
            writer.write(json.dumps({"result": answer}).encode() + b"\n")
        writer.close()

    server = await asyncio.start_unix_server(connection, directory / "socket", backlog=2048)
    print("ready", flush=True)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), os.fdopen(0, "rb")
    )
    await stdin.read()
    server.close()
    await engine.close()
