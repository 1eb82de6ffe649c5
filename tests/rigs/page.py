"""A hive behind the page without agents: real services on the memory store, a terminal by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from hyperhive import ports, settings
from hyperhive.adapters.live_log.memory import MemoryLiveLog
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, approvals, events, ids, messages
from hyperhive.edges.actions import Actions, Deps
from hyperhive.edges.dashboard import Dashboard
from hyperhive.services import (
    asking,
    budgets,
    fleet,
    messaging,
    metering,
    model_source,
    named_secrets,
    overview,
    refusals,
    review,
    scraping,
    spawning,
    statistics,
    turns,
    waits,
)
from rigs import config_world

LOOKING = {
    "turns", "stats", "messages", "card", "history", "repositories", "config-files", "config-file",
    "compare", "meta-log", "inputs", "budgets",
}  # fmt: skip
"""Verbs that only look, which a page asks as often as it likes."""


class Verbs:
    """The action layer, with a record of what the page asked for."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """What was asked, without the keys of sends and what only looks."""
        self.turns: list[dict[str, Any]] | None = None
        """What `turns` answers, in place of what is recorded."""

    async def call(self, caller: access.Caller, name: str, given: dict[str, Any]) -> Any:
        assert caller == access.operator("page")
        if name == "bug":
            raise ZeroDivisionError("secret detail of a bug")
        if name == "reset":
            raise ConnectionResetError("secret detail of a bug")
        if name == "turns" and self.turns is not None:
            return {"turns": self.turns}
        if name not in LOOKING:
            self.calls.append((name, given))
        return await self._actions.call(caller, name, given)

    async def stream(
        self, caller: access.Caller, name: str, given: dict[str, Any]
    ) -> AsyncIterator[Any]:
        async with contextlib.aclosing(self._actions.stream(caller, name, given)) as events:
            async for event in events:
                yield event


class Logs:
    """`ports.Sandbox`, as far as a page reaches it."""

    async def follow_log(self, log: Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
        for line in ("harness: hello", f"harness: this is {log.name}")[-lines:]:
            yield line


async def _no_demo() -> str:
    return "http://127.0.0.1:1"


class Bugs:
    """The log, as far as a page writes it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.seen.append((event, fields))


class Hive:
    """The parts, and short verbs that play the agents' side."""

    def __init__(self, home: Path, clock: ports.Clock, port: int = 0) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.mail = messaging.Messaging(self.store, clock)
        self.fleet = fleet.Fleet(self.store, clock)
        self.review = review.Review(self.store, clock)
        self.asking = asking.Asking(self.store, clock)
        self.model = model_source.ModelSource(
            self.store, MemorySecrets(), "https://model.test", _no_demo
        )
        self.refused = refusals.Refusals(self.store, clock)
        self.scraping = scraping.Scraping(
            self.store, clock, metering.Metering(), self.refused, "test"
        )
        self.overview = overview.Overview(
            self.store,
            self.model,
            hive="hive",
            version="test",
            model="m-1",
            refused=self.refused,
            built_from=lambda: self.world.built_from,
        )
        self.terminal = MemoryLiveLog(clock)
        self.turns = turns.Turns(
            self.store, clock,
            turns.TurnSettings(
                hive="hive", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
                max_retries=1, turn_seconds=60.0, tools=("Bash",),
            ),
            self.model.credential, "run-1",
        )  # fmt: skip
        self.world = config_world.World(self.store, home / "build")
        self.budgets = budgets.Budgets(self.store, clock, budgets.Limits())
        self.waits = waits.Waits(self.store, clock, self.budgets, self.model.ready)
        sandbox: Any = Logs()
        self.verbs = Verbs(
            Actions(
                Deps(
                    store=self.store, messaging=self.mail, turns=self.turns, fleet=self.fleet,
                    review=self.review, asking=self.asking, overview=self.overview,
                    model_source=self.model, sandbox=sandbox, live_log=self.terminal,
                    log_file=lambda agent: home / f"{agent}.log",
                    sign_in_link=lambda: self.page.sign_in_link(), shutdown=self._shutdown,
                    version="test", configuration=self.world.parts(),
                    secrets=named_secrets.NamedSecrets(self.store, MemorySecrets(), clock),
                    waits=self.waits,
                    statistics=statistics.Statistics(self.store, clock), scraping=self.scraping,
                )
            )
        )  # fmt: skip
        self.bugs = Bugs()
        self.settings = settings.Settings(home=home, cache=home / "cache", port=port)
        self.page = self.new_page(self.settings)

    def _shutdown(self, *, agents: bool) -> None:
        raise AssertionError("no test of the page ends the daemon")

    async def set_model(self, kind: str, secret: str = "") -> None:
        """Set where the model comes from, as from the command line."""
        await self.model.set(access.operator("admin socket"), kind, secret)

    def new_page(self, chosen: settings.Settings) -> Dashboard:
        return Dashboard(
            actions=self.verbs, overview=self.overview, live_log=self.terminal, store=self.store,
            clock=self.clock, scraping=self.scraping, settings=chosen, log=self.bugs,
        )  # fmt: skip

    async def agent(self, name: str, **changes: Any) -> agents.Agent:
        """The agent of that name, made running when missing, with *changes* written."""

        def work(tx: ports.Tx) -> agents.Agent:
            row = tx.find_agent(name)
            if row is None:
                manager = name == ids.MANAGER_NAME
                role = agents.Role.MANAGER if manager else agents.Role.AGENT
                row = spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
                row = dataclasses.replace(
                    row, phase=agents.Phase.RUNNING, running_epoch=row.epoch,
                    turn_state=agents.TurnState.IDLE, model="claude-sonnet-5",
                )  # fmt: skip
            elif not changes:
                return row
            row = dataclasses.replace(row, **changes)
            tx.update_agent(row)
            kind = events.EventKind.AGENT_MOVED
            tx.record(events.Event(kind, agent=row.id, topics=(events.FLEET,)))
            return row

        return await self.store.write(work)

    async def caller(self, name: str) -> access.Caller:
        return await self.fleet.identify((await self.agent(name)).id)

    async def say(self, name: str, to: str, body: str) -> messages.Message:
        """Mail from an agent."""
        return await self.mail.send(await self.caller(name), to, body)

    async def system_event(self, to: str, body: Mapping[str, Any]) -> None:
        """Mail from the daemon."""
        row = await self.agent(to)

        def work(tx: ports.Tx) -> None:
            sent = tx.insert_message(
                messages.Message(
                    id=ids.MessageId(0), sender=ids.SYSTEM, sender_name="system",
                    recipient=ids.PartyId(row.id), recipient_name=row.name,
                    type=messages.MessageType.EVENT, body=json.dumps(body), in_reply_to=None,
                    key=None, sent_at=self.clock.now(), state=messages.MessageState.HANDLED,
                    deliveries=1, lease=None, changed_at=self.clock.now(),
                )
            )  # fmt: skip
            kind = events.EventKind.MESSAGE_SENT
            tx.record(events.Event(kind, agent=row.id, message=sent.id))

        await self.store.write(work)

    async def settle(
        self, message: ids.MessageId, state: messages.MessageState, deliveries: int = 1
    ) -> None:
        """Write where a message stands."""

        def work(tx: ports.Tx) -> None:
            row = tx.get_message(message)
            assert row is not None
            tx.update_messages([dataclasses.replace(row, state=state, deliveries=deliveries)])
            tx.record(events.Event(events.EventKind.MESSAGE_HANDLED, message=message))

        await self.store.write(work)

    async def move(self, approval: ids.ApprovalId, state: approvals.ApprovalState) -> None:
        """Write where an approval stands, as the fleet loop would."""

        def work(tx: ports.Tx) -> None:
            row = tx.get_approval(approval)
            assert row is not None
            tx.update_approval(dataclasses.replace(row, state=state, changed_at=self.clock.now()))
            kind = events.EventKind.APPROVAL_MOVED
            tx.record(events.Event(kind, approval=approval, topics=(events.APPROVALS,)))

        await self.store.write(work)

    async def turn_ended(self, agent: ids.AgentId) -> None:
        """The fact that a turn of that agent is over."""
        event = events.Event(events.EventKind.TURN_ENDED, agent=agent)
        await self.store.write(lambda tx: tx.record(event))

    async def show(self, name: str, kind: str, data: Mapping[str, Any], turn: str = "t1") -> None:
        """One line in an agent's terminal."""
        await self.terminal.append((await self.agent(name)).id, [(turn, kind, data)])


@contextlib.asynccontextmanager
async def running(home: Path, clock: ports.Clock) -> AsyncIterator[tuple[Hive, str]]:
    """A hive whose page listens, and the page's address."""
    hive = Hive(home, clock)
    await hive.model.load(demo=True, api_key="", token="")
    url = await hive.page.start()
    try:
        yield hive, url
    finally:
        await hive.page.close()
        await hive.store.close()
