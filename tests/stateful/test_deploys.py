"""Proposals and deploys in any order, with deaths of the daemon in between.

After each step the hive is let run until nothing can move any more. Then the store, the tags,
main, meta, the mail and what runs must tell one and the same story, whatever came before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperhive import ports
from hyperhive.adapters.builder.memory import NO_SUCH_PACKAGE
from hyperhive.domain import access, agents, approvals, errors, ids
from hyperhive.domain.approvals import ApprovalKind, ApprovalState
from hyperhive.domain.proposals import BuildState, DeployStep
from rigs import deploy_story as tell
from rigs.hive_tester import OLGA, Daemon, HiveTester, hive

hurries = st.one_of(st.none(), st.integers(0, 40))
"""After how many ticks of the loop the daemon dies; None: it lives."""
picks = st.integers(0, 9)
FINAL = set(ApprovalState) - approvals.LIVE


class Deploys(RuleBasedStateMachine):
    """The machine."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.host: HiveTester
        self.commits: list[str] = []
        self.count = 0
        self.approved: set[int] = set()
        """What the operator said yes to, with the digest that counted then."""
        self.ended: dict[int, ApprovalState] = {}

    # --- running ------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        async def start() -> None:
            self.context = hive(pathlib.Path(self.directory.name))
            self.host = await self.context.__aenter__()
            await self.host.up()
            asked = await self.host.running.review.spawn(OLGA, "bob", "x")
            await self.quiet()
            assert asked.kind is ApprovalKind.SPAWN
            row = await self.host.row("manager")
            self.manager = access.Caller(ids.PartyId(row.id), row.name, row.role, "test")
            self.commits.append((await tell.runs(self.host)).sha)

        self.runner.run(start())

    async def quiet(self) -> None:
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
        if self.host.broken is not None:
            raise self.host.broken

    def step(self, what: Callable[[Daemon], Coroutine[Any, Any, Any]], hurry: int | None) -> Any:
        """Ask the daemon, perhaps let it die soon after, and let the hive come to rest."""

        async def run() -> Any:
            got: list[Any] = []

            async def ask() -> None:
                with contextlib.suppress(errors.HiveError):
                    got.append(await what(self.host.running))

            asked = asyncio.create_task(ask())
            if hurry is None:
                await asked
            else:
                for _ in range(hurry):
                    await asyncio.sleep(0)
                await self.host.again()
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            await self.quiet()
            return got[0] if got else None

        return self.runner.run(run())

    def look(self, work: Callable[[ports.ReadTx], Any]) -> Any:
        return self.runner.run(self.host.running.store.read(work))

    def rows(self) -> list[tuple[approvals.Approval, Any]]:
        def read(tx: ports.ReadTx) -> list[tuple[approvals.Approval, Any]]:
            found = [(a, tx.get_proposal(a.id)) for a in tx.list_approvals(limit=1000)]
            return [(a, p) for a, p in found if p is not None]

        return self.look(read)

    def waiting(self) -> list[approvals.Approval]:
        return [a for a, p in self.rows() if a.state is ApprovalState.PENDING and p.is_built]

    # --- what people and agents do --------------------------------------------------------

    @rule(parent=picks, broken=st.booleans(), hurry=hurries)
    def propose(self, parent: int, broken: bool, hurry: int | None) -> None:
        self.count += 1
        package = NO_SUCH_PACKAGE if broken else f"package-{self.count}"
        on = self.commits[-1 - parent % len(self.commits)]
        sha = self.host.place.commits(tell.config(package), on)
        self.commits.append(sha)
        self.step(lambda d: d.proposing.submit(self.manager, "bob", sha, "why"), hurry)

    @precondition(lambda self: self.waiting())
    @rule(which=picks, hurry=hurries)
    def approve(self, which: int, hurry: int | None) -> None:
        waiting = self.waiting()
        one = waiting[which % len(waiting)]
        self.approved.add(one.id)
        self.step(lambda d: d.review.approve(OLGA, one.id, one.digest), hurry)

    @precondition(lambda self: self.rows())
    @rule(which=picks)
    def approve_something_else(self, which: int) -> None:
        rows = self.rows()
        one = rows[which % len(rows)][0]
        assert self.step(lambda d: d.review.approve(OLGA, one.id, "0" * 64), None) is None

    @precondition(lambda self: self.rows())
    @rule(which=picks, how=st.sampled_from(["deny", "withdraw", "cancel"]), hurry=hurries)
    def end(self, which: int, how: str, hurry: int | None) -> None:
        rows = self.rows()
        number = rows[which % len(rows)][0].id
        verbs: dict[str, Callable[[Daemon], Coroutine[Any, Any, Any]]] = {
            "deny": lambda d: d.review.deny(OLGA, number, "no"),
            "withdraw": lambda d: d.review.withdraw(self.manager, number),
            "cancel": lambda d: d.proposing.cancel_build(OLGA, number),
        }
        self.step(verbs[how], hurry)

    @rule(which=picks, hurry=hurries)
    def roll_back(self, which: int, hurry: int | None) -> None:
        deployed = [a.id for a, p in self.rows() if p.tag == f"deployed/{a.id}"]
        number = [0, *deployed][which % (len(deployed) + 1)]
        self.step(lambda d: d.proposing.rollback(OLGA, "bob", f"deployed/{number}"), hurry)

    @rule(hurry=hurries)
    def rebuild(self, hurry: int | None) -> None:
        self.step(lambda d: d.proposing.rebuild(self.manager, "bob"), hurry)

    @rule(hurry=hurries)
    def update_inputs(self, hurry: int | None) -> None:
        self.step(lambda d: d.proposing.update_inputs(OLGA, ["apt"]), hurry)

    @rule(hurry=hurries, verb=st.sampled_from(["stop", "start", "restart"]))
    def order(self, verb: str, hurry: int | None) -> None:
        self.step(lambda d: getattr(d.fleet, verb)(OLGA, "bob"), hurry)

    # --- what must hold -------------------------------------------------------------------

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        for approval, _ in self.rows():
            before = self.ended.setdefault(approval.id, approval.state)
            if before in FINAL:
                assert approval.state is before
            self.ended[approval.id] = approval.state

    @invariant()
    def nothing_is_under_way(self) -> None:
        for approval, proposal in self.rows():
            assert proposal.step is DeployStep.NONE, proposal
            assert proposal.build not in (BuildState.IMPORTING, BuildState.BUILDING), proposal
            if approval.state in approvals.LIVE:
                assert approval.state is ApprovalState.PENDING
                assert proposal.is_built

    @invariant()
    def only_what_was_approved_is_deployed(self) -> None:
        for approval, _ in self.rows():
            decided = approval.kind is ApprovalKind.APPLY_COMMIT
            if decided and approval.state is ApprovalState.DEPLOYED:
                assert approval.id in self.approved

    @invariant()
    def git_tells_what_the_store_says(self) -> None:
        async def read() -> tuple[dict[str, str], str | None, Any]:
            bob = await self.host.row("bob")
            tags = {tag.name: tag.sha for tag in await self.host.place.repos.tags(bob.id)}
            main = await self.host.place.repos.main(bob.id)
            return tags, main, await tell.runs(self.host)

        tags, main, runs = self.runner.run(read())
        assert main == runs.sha
        assert runs.trial is None
        seen = {"deployed/0"}
        for approval, proposal in self.rows():
            if approval.kind is not ApprovalKind.APPLY_COMMIT or not proposal.sha:
                continue
            assert tags[f"proposal/{approval.id}"] == proposal.sha
            seen.add(f"proposal/{approval.id}")
            if approval.state in (
                ApprovalState.DEPLOYED, ApprovalState.FAILED, ApprovalState.DENIED,
            ):  # fmt: skip
                assert proposal.tag == f"{approval.state.value}/{approval.id}"
                assert tags[proposal.tag] == proposal.sha
                seen.add(proposal.tag)
            if f"approved/{approval.id}" in tags:
                assert approval.id in self.approved
                seen |= {f"approved/{approval.id}", f"building/{approval.id}"}
        assert set(tags) == seen
        newest = [
            a.id
            for a, p in self.rows()
            if a.kind is ApprovalKind.APPLY_COMMIT and a.state is ApprovalState.DEPLOYED
        ]
        assert runs.approval in [0, *newest]
        subjects = [c.message.splitlines()[0] for c in self.runner.run(self.host.place.meta.log())]
        for number in newest:
            assert sum(f" deployed/{number} " in f"{line} " for line in subjects) == 1

    @invariant()
    def everybody_heard_once(self) -> None:
        heard = [
            body["id"]
            for body in map(json.loads, self.runner.run(self.host.events_to("manager")))
            if body["event"] == "approval_resolved"
        ]
        assert len(heard) == len(set(heard)), heard
        own = {
            a.id
            for a, p in self.rows()
            if a.requested_by == self.manager.party
            and a.kind is ApprovalKind.APPLY_COMMIT
            and a.state in (ApprovalState.DEPLOYED, ApprovalState.FAILED, ApprovalState.DENIED)
            and p.sha
        }
        assert own <= set(heard), (own, heard)

    @invariant()
    def bob_is_what_he_should_be(self) -> None:
        bob = self.look(lambda tx: tx.find_agent("bob"))
        if bob.wanted is agents.Wanted.RUNNING:
            assert bob.phase is agents.Phase.RUNNING
            assert bob.running_epoch == bob.epoch
        runs = self.runner.run(tell.runs(self.host))
        current = self.host.place.shelf.current.get(bob.id, "")
        assert current == runs.generation

    def teardown(self) -> None:
        if hasattr(self, "context"):
            self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.directory.cleanup()


TestDeploys = Deploys.TestCase
TestDeploys.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
