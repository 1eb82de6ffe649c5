"""The store's contract for proposals and deployments. On disk and in memory."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import approvals, errors, ids
from hyperhive.domain.proposals import BuildState, DeployStep, Origin
from rigs.store_world import NOW, Run, make_approval, make_deployment, make_proposal, refused
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)


def test_proposals_keep_every_field(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        first = make_proposal(7)
        full = dataclasses.replace(
            first, origin=Origin.ROLLBACK, sha="1" * 40, tree="2" * 40, build=BuildState.BUILT,
            build_note="ok", generation="3" * 32, configuration={"model": "m", "söme": [1, None]},
            effects={"facts": [{"name": "jq"}]}, step=DeployStep.CHECKING, epoch=4, deadline=NOW,
            expires_at=NOW + datetime.timedelta(days=7), tag="deployed/7",
        )  # fmt: skip
        await store.write(lambda tx: tx.insert_proposal(first))
        assert await store.read(lambda tx: tx.get_proposal(ids.ApprovalId(7))) == first
        await store.write(lambda tx: tx.update_proposal(full))
        assert await store.read(lambda tx: tx.get_proposal(ids.ApprovalId(7))) == full
        assert await store.read(lambda tx: tx.get_proposal(ids.ApprovalId(8))) is None
        with refused(errors.ErrorKind.CONFLICT):
            await store.write(lambda tx: tx.insert_proposal(first))
        with refused(errors.ErrorKind.NOT_FOUND):
            await store.write(lambda tx: tx.update_proposal(make_proposal(8)))

    run(scenario)


def test_proposals_are_listed_newest_first_by_what_is_left_to_do(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        other = ids.AgentId("b" * 12)
        rows = [
            make_proposal(1, build=BuildState.BUILT),
            make_proposal(2, build=BuildState.QUEUED, agent_id=other),
            make_proposal(3, build=BuildState.BUILDING, step=DeployStep.RECORDING),
            make_proposal(9, build=BuildState.BUILT, step=DeployStep.TAGGING, agent_id=other),
        ]

        def fill(tx: ports.Tx) -> None:
            for row in rows:
                tx.insert_proposal(row)

        await store.write(fill)

        async def found(**asked: object) -> list[int]:
            got = await store.read(lambda tx: tx.list_proposals(**asked))  # type: ignore[arg-type]
            return [proposal.approval for proposal in got]

        assert await found() == [9, 3, 2, 1]
        assert await found(limit=2) == [9, 3]
        assert await found(agent=other) == [9, 2]
        assert await found(builds=[BuildState.QUEUED, BuildState.BUILDING]) == [3, 2]
        assert await found(steps=[DeployStep.TAGGING, DeployStep.RECORDING]) == [9, 3]
        assert await found(agent=other, builds=[BuildState.BUILT]) == [9]
        assert await found(builds=[]) == []

    run(scenario)


def test_a_deployment_replaces_the_one_before(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        seed = make_deployment()
        second = make_deployment("b" * 12, trial=ids.ApprovalId(5))
        await store.write(lambda tx: tx.put_deployment(second))
        await store.write(lambda tx: tx.put_deployment(seed))
        assert await store.read(lambda tx: tx.list_deployments()) == [seed, second]
        later = dataclasses.replace(
            seed, approval=ids.ApprovalId(5), sha="e" * 40, generation="f" * 32, built_from="base-1"
        )
        await store.write(lambda tx: tx.put_deployment(later))
        assert await store.read(lambda tx: tx.get_deployment(seed.agent_id)) == later
        assert await store.read(lambda tx: tx.get_deployment(ids.AgentId("e" * 12))) is None

        def fails(tx: ports.Tx) -> None:
            tx.put_deployment(seed)
            tx.insert_proposal(make_proposal(1))
            raise errors.conflict("changed my mind")

        with refused(errors.ErrorKind.CONFLICT):
            await store.write(fails)
        assert await store.read(lambda tx: tx.get_deployment(seed.agent_id)) == later
        assert await store.read(lambda tx: tx.list_proposals()) == []

    run(scenario)


def test_an_adopted_approval_keeps_its_id_and_later_ones_are_greater(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        denied = make_approval(approvals.ApprovalState.DENIED)
        seventh, third = (dataclasses.replace(denied, id=ids.ApprovalId(n)) for n in (7, 3))

        def adopt(tx: ports.Tx) -> None:
            tx.adopt_approval(third)
            tx.adopt_approval(seventh)

        def adopt_and_fail(tx: ports.Tx) -> None:
            tx.adopt_approval(dataclasses.replace(denied, id=ids.ApprovalId(90)))
            raise errors.invalid("undo it")

        await store.write(adopt)
        with refused(errors.ErrorKind.INVALID):
            await store.write(adopt_and_fail)
        with refused(errors.ErrorKind.CONFLICT):
            await store.write(lambda tx: tx.adopt_approval(third))
        assert await store.read(lambda tx: tx.get_approval(ids.ApprovalId(7))) == seventh
        assert (await store.write(lambda tx: tx.insert_approval(denied))).id == 8
        rows = await store.read(lambda tx: tx.list_approvals())
        assert [row.id for row in rows] == [8, 7, 3]

    run(scenario)
