"""Brings a home of the older hyperhive over, while no daemon runs (S47; docs/migration.md).

Part of the composition root. Every step may be repeated, and an agent whose step fails is told
of and skipped; a marker says that all was tried.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from hyperhive import settings
from hyperhive.adapters.clock import system as system_clock
from hyperhive.adapters.config_repo import adopting, applied, git, importer, locks
from hyperhive.adapters.hive_home import home as hive_home
from hyperhive.adapters.hive_home import uids
from hyperhive.adapters.old_hive import bringing, broker, layout
from hyperhive.adapters.process import host as host_processes
from hyperhive.adapters.sandbox import one_shot
from hyperhive.adapters.store import sqlite as store_sqlite
from hyperhive.domain import agents, configuration, errors, ids, imports
from hyperhive.services import agent_toml, lookup, migrating

MARKER: Final = "imported/done.json"
_NO_MAIL: Final = imports.OldMail((), (), {})
_CONFIGURATION_BYTES: Final = 32 * 1024**2
Report = Callable[[str], None]
Checkpoint = Callable[[str], None]
"""Told the name of each step before it is begun; for tests that die there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is to be imported, and how."""

    source: pathlib.Path
    move: bool = False
    """Rename states instead of copying them; all else is copied in any case."""
    manager: str = ""
    """The directory name of the manager there; empty: the usual ones."""
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    dry_run: bool = False


def at_start(options: settings.Settings, report: Report) -> None:
    """Before a daemon starts in a home that is the older system's: import it in place, once."""
    home = options.home
    begun = (home / bringing.BEFORE).exists() and not (home / MARKER).exists()
    if options.skip_migration or not (begun or layout.is_old(home)):
        return
    report(f"{home} is a home of the older hyperhive; importing it in place")
    outcome = run(options, Order(home), report)
    for line in outcome.told():
        report(line)


def run(
    options: settings.Settings,
    order: Order,
    report: Report,
    checkpoint: Checkpoint = lambda _: None,
) -> imports.Outcome:
    """Do what *order* says, or say what it would do.

    `HiveError` CONFLICT while a daemon runs, there or here, or when the hive has a life of its
    own; NOT_FOUND when there is nothing to import.
    """
    source, home = order.source.resolve(), options.home.resolve()
    in_place = source == home
    if in_place and (home / bringing.BEFORE).exists():
        source = home / bringing.BEFORE
    if order.dry_run:
        return _planned(layout.read(source, order.manager), order, home)
    if layout.DEFAULT in (order.source.resolve(), source):
        layout.check_stopped()
    done = _marker(home)
    if done is not None and done.source == str(source):
        return done
    if not in_place or source == home:
        # Before anything is made: is there anything to bring?
        layout.read(source, order.manager)
    if in_place:
        checkpoint("set aside")
        with hive_home.hold(home):
            source = bringing.set_aside(home)
    with uids.hold(home, options.uid_base) as base:
        given = dataclasses.replace(options, uid_base=base)
        work = _Import(given, order, source, report, checkpoint)
        return asyncio.run(work.run())


def _marker(home: pathlib.Path) -> imports.Outcome | None:
    """What was written down when all had been brought over."""
    try:
        said: dict[str, Any] = json.loads((home / MARKER).read_bytes())
    except FileNotFoundError:
        return None
    rows = [imports.Brought(**row) for row in said.pop("agents")]
    found = imports.Outcome(agents=rows, **said)
    if not found.is_complete:
        return None
    found.state = "already imported"
    return found


def _brought(row: layout.OldAgent) -> imports.Brought:
    has = [name for name in ("applied", "config", "state", "claude") if getattr(row, name)]
    return imports.Brought(row.name, has=has, live=row.live, left=list(row.left))


def _planned(old: layout.OldHive, order: Order, home: pathlib.Path) -> imports.Outcome:
    outcome = imports.Outcome(str(old.root), str(home), old.layout.value, "planned")
    for row in old.agents:
        brought = _brought(row)
        try:
            brought.name = imports.new_name(row.name, old.manager, order.renamed)
        except errors.HiveError as error:
            brought.problems.append(error.message)
        outcome.agents.append(brought)
    outcome.database = old.database is not None
    outcome.left = dict.fromkeys((f"{name} at its top" for name in old.left), 1)
    return outcome


class _Import:
    """One run of one import, with the home's lock held."""

    def __init__(
        self,
        options: settings.Settings,
        order: Order,
        source: pathlib.Path,
        report: Report,
        checkpoint: Checkpoint,
    ) -> None:
        self._options = options
        self._order = order
        self._old = layout.read(source, order.manager)
        self._report = report
        self._checkpoint = checkpoint
        self._clock = system_clock.SystemClock()
        self._files = bringing.Bringing(source, options.home, move=order.move)
        self._outcome = imports.Outcome(
            str(source), str(options.home), self._old.layout.value, "imported"
        )
        home, processes = options.home, host_processes.HostProcesses()
        own_git = git.Git(processes, never=[home / "proposed"])
        held = locks.Locks(home / "run" / "locks")
        shots = one_shot.BubblewrapOneShots(
            processes, scratch=home / "run" / "one-shot", uid_base=options.uid_base
        )
        importing = importer.Importer(
            shots, own_git, self._clock, home / "run" / "import", adopting.LIMITS
        )
        self._repos = applied.AppliedRepos(
            home, git=own_git, locks=held, importer=importing, clock=self._clock
        )
        self._adoption = adopting.Adoption(self._repos, shots, own_git, held)

    async def run(self) -> imports.Outcome:
        """All steps, in order."""
        path = self._options.home / "store" / "hive.db"
        self._store = await store_sqlite.SqliteStore.open(path, self._clock)
        try:
            await self._run()
        finally:
            await self._store.close()
        return self._outcome

    async def _run(self) -> None:
        outcome, old = self._outcome, self._old
        outcome.database = old.database is not None
        self._step("begin")
        await self._store.write(lambda tx: migrating.begin(tx, str(old.root)))
        await asyncio.to_thread(self._files.begin)
        parties: dict[str, agents.Agent] = {}
        rows = sorted(old.agents, key=lambda row: row.name != old.manager)
        if not old.manager:
            await self._adopt("", ids.MANAGER_NAME, live=True)
        for row in rows:
            brought = _brought(row)
            outcome.agents.append(brought)
            try:
                name = imports.new_name(row.name, old.manager, self._order.renamed)
                brought.live = row.live or name == ids.MANAGER_NAME
                agent = await self._adopt(row.name, name, live=brought.live)
            except errors.HiveError as error:
                self._failed(brought, "name", error)
                continue
            parties[row.name] = agent
            brought.name, brought.id = agent.name, agent.id
        manager = await self._store.read(lambda tx: lookup.require_named(tx, ids.MANAGER_NAME))
        manager_uid = self._uid(manager)
        for row, brought in zip(rows, outcome.agents, strict=True):
            if row.name in parties:
                await self._bring(row, parties[row.name], brought, manager_uid)
        await self._facts(parties)
        self._step("end")
        if old.meta:
            await asyncio.to_thread(self._files.meta)
        await asyncio.to_thread(self._files.end)
        for name in old.left:
            outcome.left.setdefault(f"{name} at its top", 1)
        if not outcome.is_complete:
            outcome.state = "incomplete"
        await asyncio.to_thread(self._mark)

    async def _adopt(self, old: str, name: ids.AgentName, *, live: bool) -> agents.Agent:
        self._step(f"row of {name}")
        return await self._store.write(
            lambda tx: migrating.adopt_agent(tx, self._clock, old, name, live=live)
        )

    async def _bring(
        self, row: layout.OldAgent, agent: agents.Agent, brought: imports.Brought, manager_uid: int
    ) -> None:
        """The three things that an agent has; one that fails does not hold up the others."""
        if row.applied:
            try:
                await self._repository(row, agent, brought)
            except (errors.HiveError, OSError) as error:
                self._failed(brought, "repository", error)
        if row.config:
            self._step(f"proposed repository of {agent.name}")
            try:
                copied = await asyncio.to_thread(self._files.proposed, row, agent.name, manager_uid)
            except (errors.HiveError, OSError) as error:
                self._failed(brought, "proposed repository", error)
            else:
                brought.left += [f"config/{path}" for path in copied.left]
        self._step(f"state of {agent.name}")
        try:
            copied = await asyncio.to_thread(self._files.state, row, agent.id, self._uid(agent))
        except (errors.HiveError, OSError) as error:
            self._failed(brought, "state", error)
        else:
            brought.files = copied.files
            brought.left += [f"state/{path}" for path in copied.left]
            self._note(agent.name, f"state: {copied.files} files, {copied.bytes} bytes")

    async def _repository(
        self, row: layout.OldAgent, agent: agents.Agent, brought: imports.Brought
    ) -> None:
        """Its commits and tags, then what runs."""
        self._step(f"repository of {agent.name}")
        copy = await asyncio.to_thread(self._files.repository, row, agent.id)
        found = await self._adoption.read(copy)
        adopted = await self._adoption.adopt(agent.id, copy, found)
        brought.problems += adopted.problems
        brought.left += [f"the ref {ref}" for ref in found.other]
        for said in adopted.problems:
            self._note(agent.name, said)
        if not adopted.sha:
            return
        commit = await self._repos.show(agent.id, adopted.sha)
        reading = agent_toml.examine(await self._content(agent.id, adopted.sha))
        begins = reading.configuration
        if begins is None:
            self._note(agent.name, "its configuration says nothing here; the defaults count")
            begins = configuration.Configuration()
        first = next((tag.sha for tag in adopted.tags if tag.name == "deployed/0"), "")
        self._step(f"deployment of {agent.name}")
        await self._store.write(
            lambda tx: migrating.deploy(
                tx,
                self._clock,
                agent,
                migrating.Pinned(commit.sha, commit.tree),
                adopted.approval,
                first,
                configuration.to_json(begins),
            )
        )
        brought.deployed, brought.tags = adopted.sha, len(adopted.tags)
        self._note(agent.name, f"repository: {adopted.sha} runs, {len(adopted.tags)} tags")

    async def _content(self, agent: ids.AgentId, sha: str) -> dict[str, bytes]:
        files = await self._repos.files(agent, sha)
        blobs = await self._repos.read_blobs(
            agent, [file.blob for file in files], limit=_CONFIGURATION_BYTES
        )
        return {file.path: blobs[file.blob] for file in files}

    async def _facts(self, parties: Mapping[str, agents.Agent]) -> None:
        """Approvals and mail: of the database, and where it says nothing, of the tags."""
        outcome, mail = self._outcome, _NO_MAIL
        if self._old.database is not None:
            self._step("database")
            copy = self._files.kept / "broker.sqlite"
            try:
                if not copy.exists():
                    await asyncio.to_thread(broker.keep, self._old.database, copy)
                mail = await asyncio.to_thread(broker.read, copy)
            except errors.HiveError as error:
                self._outcome.problems.append(error.message)
                self._note("", error.message)
        tags = {}
        trees: dict[str, str] = {}
        for agent in parties.values():
            if await self._store.read(lambda tx, key=agent.id: tx.get_deployment(key)):
                tags[agent.id] = await self._repos.tags(agent.id)
                commits = await self._repos.history(agent.id, limit=1_000_000)
                trees |= {commit.sha: commit.tree for commit in commits}
        self._step("approvals")
        counts = await self._store.write(
            lambda tx: migrating.adopt_approvals(
                tx, self._clock, mail.approvals, parties, tags, trees
            )
        )
        self._step("mail")
        sent: collections.Counter[str] = await self._store.write(
            lambda tx: migrating.adopt_mail(tx, self._clock, mail.messages, parties)
        )
        outcome.left = dict(mail.left)
        if counts.pop("not usable", 0):
            outcome.left["approvals of names that are none here"] = 1
        outcome.approvals = dict(counts)
        outcome.messages = {"queued": sent.pop("queued", 0)}
        outcome.left |= sent

    def _uid(self, agent: agents.Agent) -> int:
        if os.geteuid() != 0:
            return os.geteuid()
        return self._options.uid_base + agent.slot

    # --- saying what is done -------------------------------------------------------------

    def _step(self, name: str) -> None:
        self._checkpoint(name)
        self._report(name)

    def _failed(self, brought: imports.Brought, what: str, error: Exception) -> None:
        said = error.message if isinstance(error, errors.HiveError) else f"{what}: {error}"
        brought.problems.append(said)
        self._note(brought.old, said)

    def _note(self, agent: str, said: str) -> None:
        """A line of the log: JSON, so that no text of an agent can forge one."""
        row = {"at": self._clock.now().isoformat(), "agent": agent, "said": said}
        with (self._files.kept / "log.jsonl").open("a", encoding="ascii") as stream:
            stream.write(json.dumps(row) + "\n")

    def _mark(self) -> None:
        target = self._options.home / MARKER
        fresh = target.with_name(f".{target.name}")
        fresh.write_text(json.dumps(dataclasses.asdict(self._outcome), indent=2) + "\n")
        fresh.rename(target)
