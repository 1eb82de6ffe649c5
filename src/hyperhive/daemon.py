"""The composition root: builds everything, starts it in order, stops it in reverse.

Only this module knows adapters. Order of start: home, store, model, doors to
sandboxes, page and admin socket, workers. A stop ends in reverse order; the
agents' sandboxes go on and the next daemon adopts them, unless `hive down` asked
to end them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import resource
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

import hyperhive
from hyperhive import doors, ports, settings, wiring
from hyperhive.adapters.agent_home import directories
from hyperhive.adapters.claude_cli import provision
from hyperhive.adapters.clock import system as system_clock
from hyperhive.adapters.hive_home import uids
from hyperhive.adapters.json_log import lines as json_log
from hyperhive.adapters.live_log import sqlite as live_sqlite
from hyperhive.adapters.process import host as host_processes
from hyperhive.adapters.sandbox import bubblewrap
from hyperhive.adapters.secrets import files as file_secrets
from hyperhive.adapters.store import sqlite as store_sqlite
from hyperhive.edges import actions as actions_edge
from hyperhive.edges import egress as egress_edge
from hyperhive.edges import gateway as gateway_edge
from hyperhive.edges.admin import server as admin_server
from hyperhive.edges.agent_api import server as agent_server
from hyperhive.edges.dashboard import server as dashboard_server
from hyperhive.runtime import agent_worker, fleet_loop, supervisor, sweep_loop
from hyperhive.scripted_model import ScriptedModel, story
from hyperhive.services import (
    asking,
    fleet,
    messaging,
    metering,
    model_source,
    overview,
    reminding,
    review,
    scraping,
    statistics,
    waiting,
    waits,
)
from hyperhive.services import refusals as refusals_service
from hyperhive.services import turns as turns_service
from hyperhive.services.effective import reach
from hyperhive.services.named_secrets import NamedSecrets

Report = Callable[[str], None]
DESCRIPTORS: Final = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class ReadyInfo:
    """What `hive up --json` prints when the hive is ready."""

    url: str
    sign_in: str = dataclasses.field(repr=False)
    home: pathlib.Path
    pid: int


def run(options: settings.Settings, report: Report, ready: Callable[[ReadyInfo], None]) -> None:
    """Run the daemon until SIGTERM, SIGINT or `hive down`; `HiveError` when it cannot start."""
    egress_edge.parse_rules(options.allowed_hosts)
    raise_descriptor_limit()
    with uids.hold(options.home, options.uid_base) as base:
        given = dataclasses.replace(options, uid_base=base)
        asyncio.run(_Daemon(given, report, ready).run())


def raise_descriptor_limit() -> None:
    """Allow as many open files as the host lets us, up to `DESCRIPTORS`.

    Every agent takes about ten, and the usual 1024 would end at a hundred agents.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def end_agents(options: settings.Settings) -> list[str]:
    """End the sandboxes that a daemon has left running, and return their agents' names.

    `HiveError` CONFLICT while a daemon runs: ask it instead.
    """

    async def end(options: settings.Settings) -> list[str]:
        log = json_log.open_log(options.home / "log" / "daemon.log")
        clock = system_clock.SystemClock()
        store = await store_sqlite.SqliteStore.open(_store_path(options), clock)
        try:
            parts = agent_worker.WorkerParts(
                store=store,
                clock=clock,
                sandbox=bubblewrap.BubblewrapSandbox(
                    host_processes.HostProcesses(), clock, cache=options.cache, view="host"
                ),
                doors=doors.NoDoors(),
                turns=turns_service.Turns(
                    store, clock, _turn_settings(options), lambda: "", "none"
                ),
                spec=_homes(options, provision.locate(options.cache)).spec,
                seed=doors.seed_nothing,
                crash_limit=options.crash_limit,
                log=log,
            )
            return await _end_sandboxes(parts)
        finally:
            await store.close()

    with uids.hold(options.home, options.uid_base) as base:
        return asyncio.run(end(dataclasses.replace(options, uid_base=base)))


async def _end_sandboxes(parts: agent_worker.WorkerParts) -> list[str]:
    rows = await parts.store.read(lambda tx: tx.list_agents())
    running = [agent for agent in rows if agent.phase in agent_worker.WITH_SANDBOX]
    async with asyncio.TaskGroup() as group:
        for agent in running:
            group.create_task(agent_worker.AgentWorker(agent.id, parts).shut_down())
    return [agent.name for agent in running]


class _DemoModel:
    """Starts the scripted model when it is first wanted."""

    def __init__(self) -> None:
        self._model: ScriptedModel | None = None
        self._url = ""

    async def url(self) -> str:
        if self._model is None:
            self._model = ScriptedModel(story.story, pace=0.02)
            self._url = await self._model.start()
        return self._url

    async def stop(self) -> None:
        if self._model is not None:
            await self._model.stop()


class _Daemon:
    def __init__(
        self, options: settings.Settings, report: Report, ready: Callable[[ReadyInfo], None]
    ) -> None:
        self._options = options
        self._report = report
        self._ready = ready
        self._stopping = asyncio.Event()
        self._end_agents = False
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Start, serve until told to stop, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        log = json_log.open_log(self._options.home / "log" / "daemon.log")
        async with contextlib.AsyncExitStack() as stack:
            await self._serve(stack, log)
        if self._broken is not None:
            raise self._broken

    async def _serve(
        self, stack: contextlib.AsyncExitStack, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        options = self._options
        clock = system_clock.SystemClock()
        processes = host_processes.HostProcesses()
        sandbox = bubblewrap.BubblewrapSandbox(
            processes,
            clock,
            cache=options.cache,
            view=options.sandbox,
            build_env=settings.proxies(settings.environment()),
        )
        await waiting.first(self._prepare(processes, sandbox), self._stopping.wait())
        if self._stopping.is_set():
            return
        store = await store_sqlite.SqliteStore.open(
            _store_path(options), clock, on_broken=self._break
        )
        stack.push_async_callback(store.close)
        live_log = await live_sqlite.SqliteLiveLog.open(options.home / "store" / "live.db", clock)
        stack.push_async_callback(live_log.close)

        demo = _DemoModel()
        stack.push_async_callback(demo.stop)
        kept = file_secrets.FileSecrets(options.home / "secrets")
        named = NamedSecrets(store, kept, clock)
        source = model_source.ModelSource(store, kept, options.upstream, demo.url)
        await source.load(demo=options.demo, api_key=options.api_key, token=options.auth_token)

        mail = messaging.Messaging(store, clock, wiring.loop_breaker_of(options))
        purse = wiring.budgets_of(options, store, clock)
        turn_service = turns_service.Turns(
            store,
            clock,
            _turn_settings(options),
            source.credential,
            secrets.token_hex(8),
            named,
            purse.before_turn,
        )
        fleet_service = fleet.Fleet(store, clock)
        asking_service = asking.Asking(store, clock)
        review_service = review.Review(store, clock)
        meter = metering.Metering()
        refused = refusals_service.Refusals(store, clock)
        scrapes = scraping.Scraping(store, clock, meter, refused, hyperhive.__version__)
        overview_service = overview.Overview(
            store,
            source,
            hive=options.hive_name,
            version=hyperhive.__version__,
            model=options.model,
            meter=meter,
            refused=refused,
            allowed_hosts=options.allowed_hosts,
            built_from=lambda: configurations.built_from(),
        )
        homes = _homes(options, provision.locate(options.cache))
        configurations = wiring.Configurations(
            wiring.Host(options, store, clock, processes, sandbox, homes, kept, log)
        )
        api = agent_server.AgentApi(
            turns=turn_service,
            messaging=mail,
            fleet=fleet_service,
            review=review_service,
            proposing=configurations.proposing,
            asking=asking_service,
            reminding=reminding.Reminding(store, clock),
            live_log=live_log,
            log=log,
        )
        stack.push_async_callback(api.close)
        gateway = gateway_edge.Gateway(lambda: _upstream(source), meter.add, options, purse)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        allowed = reach(store, options.allowed_hosts)
        egress = egress_edge.EgressProxy(allowed, on_refused=refused.add)
        stack.push_async_callback(egress.close)
        actions = actions_edge.Actions(
            actions_edge.Deps(
                store=store,
                messaging=mail,
                turns=turn_service,
                fleet=fleet_service,
                review=review_service,
                asking=asking_service,
                overview=overview_service,
                model_source=source,
                sandbox=sandbox,
                live_log=live_log,
                log_file=homes.log_file,
                sign_in_link=lambda: dashboard.sign_in_link(),
                shutdown=self._shutdown,
                version=hyperhive.__version__,
                secrets=named,
                statistics=statistics.Statistics(store, clock),
                scraping=scrapes,
                waits=waits.Waits(store, clock, purse, source.ready),
                configuration=configurations.parts(),
                forge=configurations.forge,
            )
        )
        dashboard = dashboard_server.Dashboard(
            actions=actions,
            overview=overview_service,
            live_log=live_log,
            scraping=scrapes,
            store=store,
            clock=clock,
            settings=options,
            log=log,
        )
        url = await dashboard.start()
        stack.push_async_callback(dashboard.close)
        admin = admin_server.AdminServer(
            actions, options.home / "run" / "admin.sock", group=options.admin_group, log=log
        )
        await admin.start()
        stack.push_async_callback(admin.close)

        parts = agent_worker.WorkerParts(
            store=store,
            clock=clock,
            sandbox=sandbox,
            doors=doors.Doors(api, gateway, egress, homes),
            turns=turn_service,
            spec=configurations.spec,
            seed=configurations.seeder.ensure,
            crash_limit=options.crash_limit,
            log=log,
        )
        async with self._tasks(log) as tasks:
            loop = fleet_loop.FleetLoop(parts, tasks)
            await loop.ensure_manager()
            tasks.start("fleet", loop.run())
            configurations.start(tasks)
            tasks.start(
                "sweep",
                sweep_loop.SweepLoop(store, mail, live_log, clock, options.live_days, log).run(),
            )
            log.info("ready", url=url, pid=os.getpid(), version=hyperhive.__version__)
            tasks.start("load tools", api.prepare())
            self._ready(ReadyInfo(url, dashboard.sign_in_link(), options.home, os.getpid()))
            await self._stopping.wait()
            log.info("stopping", agents_too=self._end_agents)
            await tasks.stop_all()
            if self._end_agents:
                await _end_sandboxes(parts)

    async def _prepare(
        self, processes: ports.Processes, sandbox: bubblewrap.BubblewrapSandbox
    ) -> None:
        """Get what is missing, with progress; ended by a signal like everything else."""
        await provision.ensure(
            processes, self._options.cache, self._report, env=settings.environment()
        )
        await sandbox.prepare(self._report)

    @contextlib.asynccontextmanager
    async def _tasks(
        self, log: structlog.typing.FilteringBoundLogger
    ) -> AsyncIterator[supervisor.Supervisor]:
        async with asyncio.TaskGroup() as group:
            yield supervisor.Supervisor(group, log)

    def _shutdown(self, *, agents: bool) -> None:
        self._end_agents = agents
        self._stopping.set()

    def _break(self, error: BaseException) -> None:
        """The store cannot promise anything any more: stop, and be started anew."""
        self._broken = error
        self._stopping.set()


def _store_path(options: settings.Settings) -> pathlib.Path:
    return options.home / "store" / "hive.db"


def _homes(options: settings.Settings, claude: pathlib.Path) -> directories.AgentHomes:
    return directories.AgentHomes(
        options.home,
        claude=claude,
        limits=ports.Limits(options.memory_bytes, options.cpus, options.processes),
        uid_base=options.uid_base,
    )


def _turn_settings(options: settings.Settings) -> turns_service.TurnSettings:
    return turns_service.TurnSettings(
        hive=options.hive_name,
        pronouns=options.operator_pronouns,
        model=options.model,
        warm_seconds=options.warm_seconds,
        warm_bytes=options.warm_bytes,
        max_retries=options.api_retries,
        turn_seconds=options.turn_seconds,
        tools=options.tools,
        compact_at=options.compact_at,
    )


def _upstream(source: model_source.ModelSource) -> gateway_edge.Upstream | None:
    current = source.current()
    kind = current.kind
    if kind is model_source.SourceKind.API_KEY:
        return gateway_edge.api_key_upstream(current.base_url, current.secret)
    if kind is model_source.SourceKind.TOKEN:
        return gateway_edge.token_upstream(current.base_url, current.secret)
    if kind is model_source.SourceKind.DEMO:
        return gateway_edge.open_upstream(current.base_url)
    return None
