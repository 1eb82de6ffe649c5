"""What is written down of an older hive, and that it is written down once."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import agents, approvals, errors, ids, imports, messages
from hyperhive.services import migrating

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
OLD = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
Kind = ports.TagKind


def write(work: Callable[[ports.Tx, ManualClock], None]) -> None:
    async def main() -> None:
        clock = ManualClock(NOW)
        store = MemoryStore(clock)
        await store.write(lambda tx: work(tx, clock))
        await store.close()

    asyncio.run(main())


def parties(tx: ports.Tx, clock: ports.Clock) -> dict[str, agents.Agent]:
    rows = {"hm1nd": ids.MANAGER_NAME, "coder": ids.AgentName("coder")}
    return {
        old: migrating.adopt_agent(tx, clock, old, name, live=True) for old, name in rows.items()
    }


def row(number: int, **changed: object) -> imports.OldApproval:
    made = imports.OldApproval(
        number, "coder", "apply_commit", "abcdef0", "approved", "", "", OLD, OLD
    )
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]


def letter(number: int, **changed: object) -> imports.OldMessage:
    made = imports.OldMessage(number, "operator", "coder", "hello", OLD)
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]


def test_an_agent_is_adopted_once_with_a_fresh_id() -> None:
    def work(tx: ports.Tx, clock: ManualClock) -> None:
        first = parties(tx, clock)
        assert parties(tx, clock) == first
        assert {agent.role for agent in first.values()} == {agents.Role.MANAGER, agents.Role.AGENT}
        assert len(tx.list_agents()) == 2
        kept = migrating.adopt_agent(tx, clock, "kept", ids.AgentName("kept"), live=False)
        assert kept.wanted is agents.Wanted.STOPPED

    write(work)


def test_a_hive_with_a_life_of_its_own_takes_nothing() -> None:
    def work(tx: ports.Tx, clock: ManualClock) -> None:
        migrating.begin(tx, "/old")
        parties(tx, clock)
        migrating.begin(tx, "/old")
        with pytest.raises(errors.HiveError, match="was imported from /old"):
            migrating.begin(tx, "/other")
        tx.delete_value(migrating.SOURCE)
        with pytest.raises(errors.HiveError, match="agents or approvals of its own"):
            migrating.begin(tx, "/old")

    write(work)


def test_git_has_the_last_word_on_what_became_of_an_approval() -> None:
    def work(tx: ports.Tx, clock: ManualClock) -> None:
        who = parties(tx, clock)
        sha = "1" * 40
        tags = {
            who["coder"].id: [
                ports.Tag(Kind.PROPOSAL, 1, sha), ports.Tag(Kind.FAILED, 1, sha, "it broke"),
                ports.Tag(Kind.DEPLOYED, 0, sha), ports.Tag(Kind.PROPOSAL, 12, sha),
                ports.Tag(Kind.DENIED, 12, sha, "no"),
            ]
        }  # fmt: skip
        rows = [
            row(1), row(2), row(3, status="denied", note="because"), row(4, status="pending"),
            row(5, kind="spawn"), row(6, agent="away"), row(7, agent="No Name"),
            row(8, status="odd", requested_at=None, decided_at=None),
        ]  # fmt: skip
        counts = migrating.adopt_approvals(tx, clock, rows, who, tags, {sha: "2" * 40})
        assert migrating.adopt_approvals(tx, clock, rows, who, tags, {}) == counts
        state = approvals.ApprovalState
        found = {int(each.id): each for each in tx.list_approvals()}
        assert {number: each.state for number, each in found.items()} == {
            1: state.FAILED, 2: state.FAILED, 3: state.DENIED, 4: state.EXPIRED,
            5: state.DEPLOYED, 6: state.FAILED, 8: state.EXPIRED, 12: state.DENIED,
        }  # fmt: skip
        assert (found[1].note, found[3].note, found[12].note) == ("it broke", "because", "no")
        assert found[6].agent_id is None
        assert counts["not usable"] == 1
        proposal = tx.get_proposal(ids.ApprovalId(12))
        assert proposal is not None
        assert (proposal.sha, proposal.tree, proposal.tag) == (sha, "2" * 40, "denied/12")
        assert tx.get_proposal(ids.ApprovalId(5)) is None
        # Nothing is left to decide or to do.
        assert not approvals.LIVE & {each.state for each in found.values()}
        assert tx.insert_approval(found[1]).id == 13

    write(work)


def test_mail_is_queued_once_and_nobody_writes_in_anothers_name() -> None:
    def work(tx: ports.Tx, clock: ManualClock) -> None:
        who = parties(tx, clock)
        rows = [
            letter(1), letter(2, sender="coder", recipient="manager", sent_at=None),
            letter(3, sender="hm1nd", recipient="operator"),
            letter(4, sender="ghost\x1b[2J", recipient="coder"),
            letter(5, recipient="ghost"), letter(6, body=" "),
            letter(7, body="x" * (messages.BODY_MAX + 1)),
            letter(8, sent_at=NOW + datetime.timedelta(days=1)),
        ]  # fmt: skip
        counts = migrating.adopt_mail(tx, clock, rows, who)
        assert migrating.adopt_mail(tx, clock, rows, who) == counts
        assert counts == {
            "queued": 5,
            "messages to 'ghost', who is not here": 1,
            "messages that are empty or too long": 2,
        }
        found = {each.key: each for each in tx.list_messages()}
        assert set(found) == {f"import:{number}" for number in (1, 2, 3, 4, 8)}
        assert found["import:1"].sent_at == OLD
        assert found["import:2"].recipient == who["hm1nd"].id
        assert found["import:2"].sent_at == NOW
        assert found["import:4"].sender == ids.SYSTEM
        assert "\x1b" not in found["import:4"].sender_name
        assert found["import:8"].sent_at == NOW

    write(work)


@pytest.mark.parametrize("old", ["Bad_Name", "operator", "a" * 33, "x\n"])
def test_a_name_that_is_none_here_needs_another(old: str) -> None:
    with pytest.raises(errors.HiveError):
        imports.new_name(old, "hm1nd", {})
    assert imports.new_name(old, "hm1nd", {old: "better"}) == "better"
    assert imports.new_name("hm1nd", "hm1nd", {}) == ids.MANAGER_NAME
