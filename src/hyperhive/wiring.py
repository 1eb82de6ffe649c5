"""Builds what configurations need: repositories, builder, verbs, loops.

Part of the composition root: besides `daemon` only this module knows adapters.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Final

import structlog

from hyperhive import ports, settings
from hyperhive.adapters.agent_home import directories
from hyperhive.adapters.builder import layers, nix_setup
from hyperhive.adapters.config_repo import applied, git, importer, locks, producer
from hyperhive.adapters.config_repo import meta as meta_repo
from hyperhive.adapters.hive_home import build_space
from hyperhive.adapters.mirror import forgejo, place
from hyperhive.adapters.sandbox import bubblewrap, one_shot
from hyperhive.domain import agents, errors, ids
from hyperhive.domain import budgets as amounts
from hyperhive.edges import build_logs, configuration_parts
from hyperhive.runtime import (
    build_loop,
    deploy_loop,
    lapse_loop,
    mirror_loop,
    mirror_targets,
    seeding,
    supervisor,
)
from hyperhive.services import (
    budgets,
    card,
    effective,
    lookup,
    loop_breaker,
    mirroring,
    proposing,
    repositories,
    seeds,
)

DAY: Final = 86_400.0
Log = structlog.typing.FilteringBoundLogger


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What the daemon has built already."""

    options: settings.Settings
    store: ports.Store
    clock: ports.Clock
    processes: ports.Processes
    sandbox: bubblewrap.BubblewrapSandbox
    homes: directories.AgentHomes
    secrets: ports.Secrets
    log: Log


class Configurations:
    """All that turns commits into what agents run. Making it starts nothing."""

    def __init__(self, host: Host) -> None:
        home, store, clock = host.options.home, host.store, host.clock
        own_git = git.Git(host.processes, never=[home / "proposed"])
        held = locks.Locks(home / "run" / "locks")
        one_shots = one_shots_of(host)
        importing = importer.Importer(one_shots, own_git, clock, home / "run" / "import")
        self._host = host
        self._one_shots = one_shots
        builder, relock = _builder(host, one_shots)
        self._builder = builder
        self._repos = applied.AppliedRepos(
            home, git=own_git, locks=held, importer=importing, clock=clock
        )
        self._meta = meta_repo.MetaRepo(home, git=own_git, locks=held, clock=clock, relock=relock)
        self._space = build_space.HomeBuildSpace(home)
        self.proposing: Final = proposing.Proposing(
            store,
            clock,
            self._repos,
            builder,
            expire_seconds=host.options.proposal_days * DAY,
            per_day=host.options.proposals_per_day,
        )
        files = seeds.files_for_nix if host.options.builder == "nix" else seeds.files
        self.seeder: Final = seeding.Seeder(
            store, clock, self._repos, builder, files=files, owner=host.homes.uid
        )
        self._mirror = _mirror(host)
        self.forge: Final = mirroring.Mirroring(
            store,
            host.secrets,
            clock,
            self._mirror,
            url=host.options.forge_url,
            organisation=host.options.forge_organisation,
        )

    def parts(self) -> configuration_parts.Parts:
        """What the operator's verbs act on."""
        store = self._host.store
        return configuration_parts.Parts(
            cards=card.Cards(store, self._repos),
            proposing=self.proposing,
            repositories=repositories.Repositories(
                store, self._repos, self._meta, self.forge.status
            ),
            build_logs=build_logs.BuildLogs(store, self._host.options.home / "build"),
            probes=(self._one_shots.probe, self._builder.probe),
        )

    def built_from(self) -> str:
        """One word for the inputs that a build would take now."""
        return self._builder.built_from()

    def start(self, tasks: supervisor.Supervisor) -> None:
        """Run the loops."""
        host = self._host
        parts = build_loop.BuildParts(
            host.store,
            host.clock,
            self._repos,
            self._builder,
            self._space,
            self._produce,
            host.log,
        )
        tasks.start("builds", build_loop.BuildLoop(parts, tasks).run())
        deploys = deploy_loop.DeployLoop(
            host.store,
            host.clock,
            self._repos,
            self._meta,
            self._builder,
            self.seeder,
            host.log,
            health_seconds=host.options.health_seconds,
        )
        tasks.start("deploys", deploys.run())
        mirror = mirror_loop.MirrorLoop(
            self._mirror,
            mirror_targets.MirrorTargets(host.store, host.clock, self._repos, self._meta),
            self.forge,
            host.store,
            host.clock,
            host.log,
        )
        tasks.start("mirror", mirror.run())
        tasks.start("lapse", lapse_loop.LapseLoop(host.store, host.clock, host.log).run())

    async def spec(self, agent: agents.Agent) -> ports.SandboxSpec:
        """How to start an agent as its configuration says.

        UNAVAILABLE when what was built for it is gone: a rebuild brings it back.
        """
        counts = await self._host.store.read(lambda tx: effective.current(tx, agent.id))
        generation = None
        if counts.generation_id is not None:
            generation = await self._builder.find(counts.generation_id)
            if generation is None:
                raise errors.unavailable(
                    f"cannot start {agent.name}: generation {counts.generation_id} is gone; "
                    f"build it again with 'hive rebuild {agent.name}'"
                )
        return await self._host.homes.spec(
            agent, generation=generation, configured=counts.configuration
        )

    async def _produce(self, requester: ids.PartyId, name: ids.AgentName) -> ports.Produce:
        """The pack of a proposed repository, made in the sandbox of who asks for it."""
        if requester in (ids.OPERATOR, ids.SYSTEM):
            raise errors.invalid(
                "cannot propose a commit: proposed repositories are the manager's; ask it to"
            )
        agent = await self._host.store.read(
            lambda tx: lookup.require_agent(tx, ids.AgentId(requester))
        )
        if agent.sandbox is None:
            raise errors.unavailable(
                f"cannot import a commit: {agent.name}, who asks for it, is not running"
            )
        return producer.in_sandbox(self._host.sandbox, agent.id, agent.sandbox, name)


def budgets_of(
    options: settings.Settings, store: ports.Store, clock: ports.Clock
) -> budgets.Budgets:
    """The budgets of a hive, with what counts where nobody set any."""
    limits = budgets.Limits(
        agent=amounts.Amount(options.agent_usd_per_day, options.agent_tokens_per_day),
        hive=amounts.Amount(options.hive_usd_per_day, options.hive_tokens_per_day),
    )
    return budgets.Budgets(store, clock, limits)


def loop_breaker_of(options: settings.Settings) -> loop_breaker.LoopBreaker:
    """What holds two agents that only answer each other."""
    return loop_breaker.LoopBreaker(options.loop_messages, options.loop_minutes)


def one_shots_of(host: Host) -> ports.OneShots:
    """Throw-away sandboxes of this hive."""
    return one_shot.BubblewrapOneShots(
        host.processes,
        scratch=host.options.home / "run" / "one-shot",
        uid_base=host.options.uid_base,
    )


def _builder(host: Host, one_shots: ports.OneShots) -> tuple[ports.Builder, meta_repo.Relock]:
    """The builder that was chosen, and what it adds to meta."""
    options, env = host.options, settings.proxies(settings.environment())
    if options.builder == "nix":
        choice = nix_setup.Choice(
            nixpkgs=options.nix_nixpkgs,
            hyperhive=options.nix_hyperhive,
            allowed=options.nix_inputs,
            substituters=options.nix_substituters,
            keys=options.nix_keys,
            hive_name=options.hive_name,
            pronouns=options.operator_pronouns,
        )
        made = nix_setup.make(
            one_shots,
            host.processes,
            options.home,
            choice,
            env=env,
            root=os.geteuid() == 0,
            log=lambda text: host.log.warning("nix", what=text),
        )
        return made.builder, made.meta.relock
    builder = layers.LayersBuilder(
        one_shots,
        host.processes,
        host.clock,
        home=options.home,
        base=host.sandbox.base_path,
        env=env,
    )
    return builder, meta_repo.relock_nothing


def _mirror(host: Host) -> ports.Mirror | None:
    options = host.options
    if not options.forge_url:
        return None
    return forgejo.ForgejoMirror(
        place.make(options.forge_url, options.forge_organisation),
        host.secrets,
        host.processes,
        host.clock,
        lambda text: host.log.warning("somebody changed the forge", what=text),
    )
