"""A hive on the memory twins behind its real sockets, and a client that speaks lines."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.live_log.memory import MemoryLiveLog
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, ids
from hyperhive.edges import actions
from hyperhive.edges.admin import server as admin_server
from hyperhive.edges.agent_api import server as agent_server
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
    reminding,
    review,
    scraping,
    spawning,
    statistics,
    turns,
    waits,
)
from rigs import config_world

SECONDS = 20.0
"""Longer than anything here takes: a lost wake-up fails the test instead of hanging it."""


class FakeLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.entries.append((event, fields))

    warning = error = info

    def events(self) -> list[str]:
        return [event for event, _ in self.entries]


class FakeSandbox:
    """Only what verbs of the operator ask of a sandbox."""

    def __init__(self) -> None:
        self.lines = ["one", "two", "three"]
        self.asked: list[tuple[pathlib.Path, int, bool]] = []

    async def probe(self) -> list[ports.Finding]:
        return [ports.Finding("cgroups", ports.Severity.NOTICE, "no limits", "mount cgroup2")]

    async def follow_log(
        self, log: pathlib.Path, *, lines: int, follow: bool
    ) -> AsyncIterator[str]:
        self.asked.append((log, lines, follow))
        for line in self.lines[len(self.lines) - lines :]:
            yield line
        while follow:
            await asyncio.sleep(3600)


class LineClient:
    """One connection. `ask` is for one question at a time; `send` and `read` for the rest."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._ids = itertools.count(1)

    @classmethod
    async def connect(cls, path: pathlib.Path) -> LineClient:
        folder = os.open(path.parent, os.O_PATH)
        try:
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/{path.name}", limit=1 << 26
            )
        finally:
            os.close(folder)
        return cls(reader, writer)

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send(self, **members: Any) -> None:
        await self.send_raw(json.dumps(members).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self.reader.readline(), SECONDS)
        assert line.endswith(b"\n"), f"the connection ended: {line!r}"
        return json.loads(line)

    async def read_end(self) -> bytes:
        """What is left until the other side closes."""
        return await asyncio.wait_for(self.reader.read(), SECONDS)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a request of the harness protocol."""
        number = next(self._ids)
        await self.send(id=number, method=method, params=params)
        answer = await self.read()
        assert answer["id"] == number
        return answer

    async def do(self, verb: str, **args: Any) -> dict[str, Any]:
        """The first line that answers a verb of the admin protocol."""
        number = next(self._ids)
        await self.send(id=number, version=1, verb=verb, args=args)
        answer = await self.read()
        assert (answer["id"], answer["version"]) == (number, 1)
        return answer

    async def tool(
        self, turn: str, key: str, name: str, arguments: dict[str, Any] | None = None
    ) -> tuple[bool, Any]:
        """Call a tool: whether it worked, and its result or its words."""
        message = {
            "jsonrpc": "2.0", "id": key, "method": "tools/call",
            "params": {"name": name, "arguments": arguments or {}},
        }  # fmt: skip
        return tool_result(await self.ask("mcp", turn=turn, key=key, message=message))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def tool_result(answer: dict[str, Any]) -> tuple[bool, Any]:
    result = answer["result"]["message"]["result"]
    text = result["content"][0]["text"]
    return (False, text) if result["isError"] else (True, json.loads(text))


@dataclasses.dataclass
class Hive:
    """Everything behind the sockets, and verbs to get at it."""

    home: pathlib.Path
    clock: ManualClock
    store: MemoryStore
    live_log: MemoryLiveLog
    log: FakeLog
    sandbox: FakeSandbox
    mail: messaging.Messaging
    turns: turns.Turns
    fleet: fleet.Fleet
    review: review.Review
    actions: actions.Actions
    world: config_world.World
    ended: list[bool]
    stack: contextlib.AsyncExitStack
    olga: access.Caller = dataclasses.field(default_factory=lambda: access.operator("page"))

    async def agent(self, name: str) -> agents.Agent:
        """A running agent of that name, made when missing."""

        def work(tx: ports.Tx) -> agents.Agent:
            found = tx.find_agent(name)
            if found is None:
                manager = name == ids.MANAGER_NAME
                role = agents.Role.MANAGER if manager else agents.Role.AGENT
                made = spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
                found = dataclasses.replace(
                    made, phase=agents.Phase.RUNNING, running_epoch=made.epoch
                )
                tx.update_agent(found)
            return found

        return await self.store.write(work)

    def new_api(self) -> agent_server.AgentApi:
        """Another server of all agents on the same facts, as after a restart of the daemon."""
        api = agent_server.AgentApi(
            turns=self.turns, messaging=self.mail, fleet=self.fleet, review=self.review,
            proposing=self.world.parts().proposing,
            asking=asking.Asking(self.store, self.clock),
            reminding=reminding.Reminding(self.store, self.clock),
            live_log=self.live_log, log=self.log,
        )  # fmt: skip
        self.stack.push_async_callback(api.close)
        return api

    async def open_door(self, api: agent_server.AgentApi, name: str) -> None:
        agent = await self.agent(name)
        await api.open(agent.id, self.home / f"door-{name}", uid=os.geteuid(), gid=os.getegid())

    async def connect(self, name: str) -> LineClient:
        """Connect as that agent."""
        client = await LineClient.connect(self.home / f"door-{name}" / agent_server.SOCKET_NAME)
        self.stack.push_async_callback(client.close)
        return client

    async def connect_admin(self) -> LineClient:
        """Connect as the operator."""
        client = await LineClient.connect(self.home / "admin.sock")
        self.stack.push_async_callback(client.close)
        return client

    async def take_turn(self, client: LineClient, name: str, body: str = "go") -> str:
        """Give *name* a message and let its harness take the turn."""
        await self.mail.send(self.olga, name, body)
        plan = (await client.ask("take", boot=f"boot-{name}"))["result"]
        return plan["turn"]


@pytest.fixture
def hive(tmp_path: pathlib.Path) -> Callable[[], contextlib.AbstractAsyncContextManager[Hive]]:
    """Makes a hive; enter it inside the event loop."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[Hive]:
        clock = ManualClock()
        store = MemoryStore(clock)
        live_log = MemoryLiveLog(clock)
        log = FakeLog()
        sandbox = FakeSandbox()
        mail = messaging.Messaging(store, clock)
        settings = turns.TurnSettings(
            hive="test", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
            max_retries=1, turn_seconds=60.0, tools=("Bash",),
        )  # fmt: skip
        turn_service = turns.Turns(store, clock, settings, lambda: "api_key", "run-1")
        fleet_service = fleet.Fleet(store, clock)
        review_service = review.Review(store, clock)

        async def start_demo() -> str:
            return "http://127.0.0.1:1"

        source = model_source.ModelSource(store, MemorySecrets(), "https://up", start_demo)
        ended: list[bool] = []

        def shutdown(*, agents: bool) -> None:
            ended.append(agents)

        world = config_world.World(store, tmp_path / "build")
        refused = refusals.Refusals(store, clock)
        verbs = actions.Actions(
            actions.Deps(
                store=store, messaging=mail, turns=turn_service, fleet=fleet_service,
                review=review_service, asking=asking.Asking(store, clock),
                overview=overview.Overview(
                    store, source, hive="test", version="1.2", model="m-1",
                    refused=refused,
                ),
                model_source=source, sandbox=sandbox,  # type: ignore[arg-type]
                live_log=live_log, log_file=lambda agent: tmp_path / f"{agent}.log",
                sign_in_link=lambda: "http://127.0.0.1:1/sign-in#secret",
                shutdown=shutdown, version="1.2", configuration=world.parts(),
                secrets=named_secrets.NamedSecrets(store, MemorySecrets(), clock),
                waits=waits.Waits(
                    store, clock, budgets.Budgets(store, clock, budgets.Limits()), source.ready
                ),
                statistics=statistics.Statistics(store, clock),
                scraping=scraping.Scraping(store, clock, metering.Metering(), refused, "1.2"),
            )
        )  # fmt: skip
        async with contextlib.AsyncExitStack() as stack:
            yield Hive(
                home=tmp_path, clock=clock, store=store, live_log=live_log, log=log,
                sandbox=sandbox, mail=mail, turns=turn_service, fleet=fleet_service,
                review=review_service, actions=verbs, world=world, ended=ended, stack=stack,
            )  # fmt: skip

    return make


@pytest.fixture
def open_hive(
    hive: Callable[[], contextlib.AbstractAsyncContextManager[Hive]],
) -> Callable[..., contextlib.AbstractAsyncContextManager[Hive]]:
    """Makes a hive with doors open for the named agents, and the admin socket."""

    @contextlib.asynccontextmanager
    async def make(*names: str) -> AsyncIterator[Hive]:
        async with hive() as made:
            api = made.new_api()
            for name in names:
                await made.open_door(api, name)
            admin = admin_server.AdminServer(
                made.actions, made.home / "admin.sock", group="", log=made.log
            )
            await admin.start()
            made.stack.push_async_callback(admin.close)
            yield made

    return make


@pytest.fixture
def connect_line() -> Callable[[pathlib.Path], Any]:
    """Connects a `LineClient` to any socket."""
    return LineClient.connect


@pytest.fixture
def fake_log() -> FakeLog:
    return FakeLog()
