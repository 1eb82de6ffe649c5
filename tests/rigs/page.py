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
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, approvals, errors, events, ids, messages
from hyperhive.edges.dashboard import Dashboard
from hyperhive.services import fleet, messaging, overview, review, spawning
from hyperhive.wire import views


class Model:
    """The model source, as far as a page sees it."""

    def __init__(self, store: ports.Store) -> None:
        self.kind = "demo"
        self._store = store
        self.secret = ""

    async def status(self) -> dict[str, Any]:
        return {"kind": self.kind, "upstream": "http://model.test", "ready": self.kind != "none"}

    async def set(self, kind: str, secret: str) -> dict[str, Any]:
        self.kind, self.secret = kind, secret
        event = events.Event(events.EventKind.MODEL_SOURCE_SET, topics=(events.SETTINGS,))
        await self._store.write(lambda tx: tx.record(event))
        return await self.status()


class Verbs:
    """The operator's verbs that a page uses, over the real services."""

    def __init__(self, hive: Hive) -> None:
        self._hive = hive
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.turns: list[dict[str, Any]] = []

    async def call(self, caller: access.Caller, name: str, params: dict[str, Any]) -> Any:
        assert caller == access.operator("page")
        self.calls.append((name, params))
        hive = self._hive
        match name:
            case "send":
                sent = await hive.mail.send(
                    caller, params["to"], params["body"], key=params.get("key"),
                    in_reply_to=params.get("in_reply_to"),
                )  # fmt: skip
                return {"message": views.message_view(sent)}
            case "start" | "stop" | "restart" | "kill":
                verb = getattr(hive.fleet, name)
                return {"agent": views.agent_view(await verb(caller, params["name"]), 0)}
            case "interrupt":
                return {}
            case "approve":
                row = await hive.review.approve(caller, params["id"], params["digest"])
                return {"approval": views.approval_view(row)}
            case "deny":
                row = await hive.review.deny(caller, params["id"], params["note"])
                return {"approval": views.approval_view(row)}
            case "request-spawn":
                row = await hive.review.request_spawn(caller, params["name"], params["description"])
                return {"approval": views.approval_view(row)}
            case "handled":
                row = await hive.mail.handle_for_operator(caller, params["id"])
                return {"message": views.message_view(row)}
            case "requeue":
                row = await hive.mail.requeue(caller, params["id"])
                return {"message": views.message_view(row)}
            case "messages":
                rows = await hive.overview.messages(
                    agent=params.get("agent"), limit=params["limit"], before=params.get("before")
                )
                return {"messages": rows}
            case "turns":
                return {"turns": self.turns}
            case "model-source":
                return await hive.model.set(params["kind"], params["secret"])
            case "bug":
                raise ZeroDivisionError("secret detail of a bug")
        raise errors.not_found(f"cannot {name}: there is no such verb")

    async def stream(
        self, caller: access.Caller, name: str, params: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        assert name == "logs"
        for line in ("harness: hello", f"harness: I am {params['name']}"):
            yield {"line": line}


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
        self.model = Model(self.store)
        self.overview = overview.Overview(self.store, self.model, hive="hive", version="test")  # type: ignore[arg-type]
        self.terminal = MemoryLiveLog(clock)
        self.verbs = Verbs(self)
        self.bugs = Bugs()
        self.settings = settings.Settings(home=home, cache=home / "cache", port=port)
        self.page = self.new_page(self.settings)

    def new_page(self, chosen: settings.Settings) -> Dashboard:
        return Dashboard(
            actions=self.verbs, overview=self.overview, live_log=self.terminal, store=self.store,
            clock=self.clock, settings=chosen, log=self.bugs,
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

    async def show(self, name: str, kind: str, data: Mapping[str, Any], turn: str = "t1") -> None:
        """One line in an agent's terminal."""
        await self.terminal.append((await self.agent(name)).id, [(turn, kind, data)])


@contextlib.asynccontextmanager
async def running(home: Path, clock: ports.Clock) -> AsyncIterator[tuple[Hive, str]]:
    """A hive whose page listens, and the page's address."""
    hive = Hive(home, clock)
    url = await hive.page.start()
    try:
        yield hive, url
    finally:
        await hive.page.close()
        await hive.store.close()
