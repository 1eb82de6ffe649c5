"""A harness as a coroutine in a memory sandbox: takes turns, lets a brain act, ends turns.

It plays `wire/agent_protocol.py` on the services themselves. When the daemon goes away
it waits for the next one, says hello with the same boot and asks again, each tool call
with the same key.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from hyperhive.adapters.sandbox.memory import Inside, Payload
from hyperhive.domain import access, ids
from hyperhive.domain import turns as turns_domain
from hyperhive.services import turns as turns_service
from hyperhive.services import waiting

if TYPE_CHECKING:
    from rigs.hive_tester import Daemon, HiveTester

T = TypeVar("T")


class ConnectionLost(Exception):
    """The daemon died or closed the door before it answered."""


@dataclasses.dataclass
class Turn:
    """What a brain has in its hands: one message, and the tools."""

    host: HiveTester
    agent: ids.AgentId
    name: str
    boot: str
    id: ids.TurnId
    message: dict[str, Any]
    calls: int = 0

    @property
    def body(self) -> str:
        return self.message["body"]

    @property
    def sender(self) -> str:
        return self.message["from"]

    @property
    def event(self) -> dict[str, Any]:
        """The system's event; empty for other mail."""
        return json.loads(self.body) if self.message["type"] == "event" else {}

    async def sends(self, to: str, body: str) -> None:
        await self._tool(lambda d, me, key: d.mail.send(me, to, body, key=key))

    async def requests(self, name: str, why: str) -> None:
        await self._tool(lambda d, me, key: d.review.request_spawn(me, name, why, once=key))

    async def proposes(self, name: str, commit: str, why: str) -> None:
        await self._tool(lambda d, me, key: d.proposing.submit(me, name, commit, why, once=key))

    async def kills(self, name: str) -> None:
        await self._tool(lambda d, me, key: d.fleet.kill(me, name, once=key))

    async def starts(self, name: str) -> None:
        await self._tool(lambda d, me, key: d.fleet.start(me, name, once=key))

    async def asks(self, to: str, question: str, ttl_seconds: float | None = None) -> None:
        await self._tool(
            lambda d, me, key: d.asking.ask(me, to, question, ttl_seconds=ttl_seconds, once=key)
        )

    async def answers(self, question: int, text: str) -> None:
        await self._tool(lambda d, me, key: d.asking.answer(me, question, text=text))

    async def reminds(self, text: str, after: float) -> None:
        await self._tool(lambda d, me, key: d.reminding.remind(me, text, after=after, once=key))

    async def spends(self, model: str, tokens: int) -> None:
        """What the gateway counts of one answer; an answer that was cut off is asked for again."""
        used = turns_domain.Usage(output_tokens=tokens)
        await self._tool(lambda d, me, key: d.budgets.charge(self.agent, (model, used)))

    async def finish(self, daemon: Daemon) -> None:
        report = turns_service.FinishReport(turns_domain.Outcome.OK, tool_calls=self.calls)
        await daemon.turns.finish(self.agent, self.id, report)

    async def _tool(self, call: Callable[[Daemon, access.Caller, str], Awaitable[Any]]) -> None:
        self.calls += 1
        key = f"mcp:{self.id}:{self.calls}"

        async def run(daemon: Daemon) -> None:
            await call(daemon, await daemon.fleet.identify(self.agent), key)

        await _Line(self.host, self.agent, self.boot).ask(run)


Brain = Callable[[Turn], Awaitable[None]]


class _Line:
    """The connection of a harness, made again and again."""

    def __init__(self, host: HiveTester, agent: ids.AgentId, boot: str) -> None:
        self._host = host
        self._agent = agent
        self.boot = boot
        self.name = ""

    async def ask(self, what: Callable[[Daemon], Coroutine[Any, Any, T]]) -> T:
        while True:
            daemon = await self._host.door(self._agent)
            try:
                hello = await daemon.serve(
                    self._agent, lambda d=daemon: d.turns.hello(self._agent, self.boot)
                )
                self.name = hello["agent"]["name"]
                return await daemon.serve(self._agent, functools.partial(what, daemon))
            except ConnectionLost:
                continue


def payload(host: HiveTester) -> Payload:
    """What runs as ``harness`` in every sandbox of *host*."""

    async def run(inside: Inside) -> int:
        agent = inside.spec.agent
        line = _Line(host, agent, secrets.token_hex(8))
        boot = line.boot
        plans: list[dict[str, Any]] = []

        async def take() -> None:
            plans.append(await line.ask(lambda daemon: daemon.turns.take(agent, boot)))

        while True:
            await waiting.first(take(), inside.terminated.wait())
            if not plans:
                return 0
            plan = plans.pop()
            (message,) = plan["messages"]
            turn = Turn(host, agent, line.name, boot, ids.TurnId(plan["turn"]), message)
            host.turns.append(turn)
            brain = host.brains.get(line.name)
            if brain is not None:
                try:
                    await brain(turn)
                except Exception as error:
                    host.broken = error
                    host.door_opened()
                    raise
            await line.ask(turn.finish)

    return run
