"""What the operator may want of an agent's turns, and when it takes effect."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from hyperhive.domain import agents, errors, events, ids, messages, turns
from hyperhive.services import sessions
from hyperhive.services.turns import FinishReport
from rigs.turn_stories import states

KINDS = frozenset(turns.TurnKind)
Outcome = turns.Outcome


async def begin(desk, name: str, boot: str = "boot"):
    row = await desk.agent(name)
    await desk.turns.hello(row.id, boot)
    return await asyncio.wait_for(desk.turns.take(row.id, boot, KINDS), 5)


async def end(desk, name: str, plan, outcome=Outcome.OK, *, started=True, **report) -> None:
    row = await desk.agent(name)
    if started and plan["kind"] == "mail":
        await desk.turns.session_exists(row.id, plan["turn"], plan["session"])
    await desk.turns.finish(row.id, plan["turn"], FinishReport(outcome, **report))


async def turn(desk, name: str, body: str = "hello", outcome=Outcome.OK, **report):
    """A whole turn with mail."""
    await desk.agent(name)
    await desk.mail.send(desk.olga, name, body)
    plan = await begin(desk, name)
    await end(desk, name, plan, outcome, **report)
    return plan


async def parks(desk, name: str) -> bool:
    """Whether the agent would begin no turn now."""
    row = await desk.agent(name)
    try:
        await asyncio.wait_for(desk.turns.take(row.id, "boot", KINDS), 0.05)
    except TimeoutError:
        return True
    return False


def told(story) -> None:
    asyncio.run(story())


def test_a_model_counts_from_the_next_turn_on_and_can_be_taken_back(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "one")
        running = await begin(desk, "bob")
        await desk.turns.control.set_model(desk.olga, "bob", "claude-opus-5[1m]")
        assert (await begin(desk, "bob"))["model"] == running["model"] == "m-1"
        await end(desk, "bob", running)
        assert (await turn(desk, "bob"))["model"] == "claude-opus-5[1m]"
        await desk.turns.control.set_model(desk.olga, "bob", "default")
        assert (await turn(desk, "bob"))["model"] == "m-1"
        for wrong in ("", "a b", "-x", "x" * 200, "a\nb"):
            with pytest.raises(errors.HiveError, match="cannot set the model"):
                await desk.turns.control.set_model(desk.olga, "bob", wrong)

    told(story)


def test_a_new_session_is_for_exactly_the_next_turn(make_desk):
    async def story():
        desk = make_desk()
        first = await turn(desk, "bob")
        second = await turn(desk, "bob")
        assert (second["session"], second["resume"]) == (first["session"], True)
        await desk.turns.control.new_session(desk.olga, "bob")
        third = await turn(desk, "bob")
        assert third["resume"] is False
        assert third["session"] != first["session"]
        assert third["preface"] == "", "who asked for it knows it"
        fourth = await turn(desk, "bob")
        assert (fourth["session"], fourth["resume"]) == (third["session"], True)

    told(story)


def test_a_new_session_outlives_a_turn_that_died_before_it_was_on_disk(make_desk):
    async def story():
        desk = make_desk()
        first = await turn(desk, "bob")
        await desk.turns.control.new_session(desk.olga, "bob")
        await desk.mail.send(desk.olga, "bob", "again")
        lost = await begin(desk, "bob", "boot-1")
        again = await begin(desk, "bob", "boot-2")
        assert lost["session"] == again["session"] != first["session"]
        assert again["resume"] is False
        facts = await desk.store.read(lambda tx: tx.facts_after(0, 1000))
        renewed = [f for f in facts if f.event.kind is events.EventKind.SESSION_RENEWED]
        assert len(renewed) == 1
        assert first["session"] in renewed[0].event.text

    told(story)


def test_a_compaction_waits_for_the_turn_that_runs_and_needs_no_mail(make_desk):
    async def story():
        desk = make_desk()
        first = await turn(desk, "bob")
        await desk.mail.send(desk.olga, "bob", "more")
        plan = await begin(desk, "bob")
        await desk.turns.control.compact(desk.olga, "bob")
        assert (await begin(desk, "bob"))["kind"] == "mail", "the same turn again"
        await end(desk, "bob", plan)
        compaction = await begin(desk, "bob")
        assert compaction["kind"] == "compaction"
        assert compaction["messages"] == []
        assert (compaction["session"], compaction["resume"]) == (first["session"], True)
        assert (await desk.row("bob")).turn_state is agents.TurnState.COMPACTING
        shape = {"settings", "system_prompt", "mcp_servers", "secrets", "model"}
        assert {key: compaction[key] for key in shape} == {key: plan[key] for key in shape}
        await end(desk, "bob", compaction)
        assert (await desk.row("bob")).turn_state is agents.TurnState.IDLE
        assert await parks(desk, "bob")
        bob = await desk.agent("bob")
        rows = await desk.store.read(lambda tx: tx.list_turns(bob.id))
        assert (rows[0].kind.value, rows[0].woke_by) == ("compaction", "asked by the operator")

    told(story)


def test_a_harness_that_does_not_know_compactions_gets_none(make_desk):
    async def story():
        desk = make_desk()
        await turn(desk, "bob")
        await desk.turns.control.compact(desk.olga, "bob")
        await desk.mail.send(desk.olga, "bob", "more")
        bob = await desk.agent("bob")
        assert (await desk.turns.take(bob.id, "boot"))["kind"] == "mail"

    told(story)


def test_what_cannot_be_compacted_is_refused(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("bob")
        with pytest.raises(errors.HiveError, match="it has none yet"):
            await desk.turns.control.compact(desk.olga, "bob")
        await turn(desk, "bob")
        await desk.turns.control.new_session(desk.olga, "bob")
        with pytest.raises(errors.HiveError, match="begins a new one"):
            await desk.turns.control.compact(desk.olga, "bob")

    told(story)


def test_a_paused_agent_begins_no_turn_and_its_mail_waits(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "one")
        plan = await begin(desk, "bob")
        await desk.turns.control.pause(desk.olga, "bob", "the bill")
        assert (await desk.row("bob")).turn_state is agents.TurnState.THINKING
        await end(desk, "bob", plan)
        row = await desk.row("bob")
        assert row.turn_state is agents.TurnState.PAUSED
        assert row.turn_note == "paused by operator on the page: the bill"
        since = row.turn_since
        await desk.mail.send(desk.olga, "bob", "two")
        await desk.turns.control.new_session(desk.olga, "bob")
        desk.clock.advance(3600)
        assert await parks(desk, "bob")
        await desk.turns.hello(row.id, "boot-2")  # its harness was started again
        row = await desk.row("bob")
        assert (row.turn_state, row.turn_since) == (agents.TurnState.PAUSED, since)
        with pytest.raises(errors.HiveError, match="paused already"):
            await desk.turns.control.pause(desk.olga, "bob")
        assert (await states(desk, "bob"))[-1] == ("two", messages.MessageState.QUEUED, 0)
        await desk.turns.control.resume(desk.olga, "bob")
        assert (await desk.row("bob")).turn_state is agents.TurnState.IDLE
        assert (await begin(desk, "bob"))["messages"][0]["body"] == "two"
        with pytest.raises(errors.HiveError, match="not paused"):
            await desk.turns.control.resume(desk.olga, "bob")

    told(story)


def test_resuming_wakes_a_take_that_parks_and_shows_an_older_pause(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.turns.control.pause(desk.olga, "bob")
        await desk.mail.send(desk.olga, "bob", "one")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot", KINDS))
            await asyncio.sleep(0)
            await desk.turns.control.resume(desk.olga, "bob")
            plan = await asyncio.wait_for(taking, 5)
        await end(desk, "bob", plan, Outcome.RATE_LIMITED, started=False, note="429")
        await desk.turns.control.pause(desk.olga, "bob")
        assert (await desk.row("bob")).turn_state is agents.TurnState.PAUSED
        await desk.turns.control.resume(desk.olga, "bob")
        row = await desk.row("bob")
        assert row.turn_state is agents.TurnState.RATE_LIMITED
        assert row.turn_note.startswith("429; next try at ")

    told(story)


def test_only_the_operator_may(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("bob")
        manager = await desk.caller("manager")
        control = desk.turns.control
        for verb in (control.compact, control.new_session, control.pause, control.resume):
            with pytest.raises(errors.HiveError) as refused:
                await verb(manager, "bob")
            assert refused.value.kind is errors.ErrorKind.FORBIDDEN
        with pytest.raises(errors.HiveError) as refused:
            await control.set_model(manager, "bob", "m-2")
        assert refused.value.kind is errors.ErrorKind.FORBIDDEN

    told(story)


# --- too long -----------------------------------------------------------------------------


def test_too_long_compacts_and_tries_the_same_mail_again(make_desk):
    async def story():
        desk = make_desk()
        await turn(desk, "bob")
        await turn(desk, "bob", "big", Outcome.TOO_LONG, note="Prompt is too long")
        assert (await states(desk, "bob"))[-1] == ("big", messages.MessageState.QUEUED, 0)
        compaction = await begin(desk, "bob")
        assert (compaction["kind"], compaction["woke_by"]) == (
            "compaction", "the prompt was too long",
        )  # fmt: skip
        await end(desk, "bob", compaction)
        again = await begin(desk, "bob")
        assert again["messages"][0]["body"] == "big"
        assert again["messages"][0]["redelivered"] is False
        assert again["session"] == compaction["session"]
        await end(desk, "bob", again)
        assert (await desk.row("bob")).turn_state is agents.TurnState.IDLE

    told(story)


def test_if_compacting_fails_too_a_new_session_is_told_which_mail_it_had(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        before = await turn(desk, "bob", "the first task\nwith a second line")
        await turn(desk, "bob", "big", Outcome.TOO_LONG)
        await desk.mail.send(desk.olga, "bob", "x" * 5000)
        compaction = await begin(desk, "bob")
        await end(desk, "bob", compaction, Outcome.TOO_LONG, note="could not be reduced")
        plan = await begin(desk, "bob")
        assert (plan["kind"], plan["resume"]) == ("mail", False)
        assert plan["session"] != before["session"]
        assert plan["messages"][0]["body"] == "big"
        assert "this is a new one" in plan["preface"]
        assert "from operator, handled: the first task with a second line" in plan["preface"]
        assert "x" * 200 not in plan["preface"]
        inbox = await desk.store.read(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
        assert "begins a new session" in inbox[0].body
        # The harness dies: whoever comes next is told the same.
        again = await begin(desk, "bob", "boot-2")
        assert (again["session"], bool(again["preface"])) == (plan["session"], True)
        await end(desk, "bob", again)
        assert (await turn(desk, "bob"))["kind"] == "mail"
        bob = await desk.row("bob")
        assert await desk.store.read(lambda tx: sessions.preface(tx, bob)) == ""

    told(story)


def test_mail_that_is_too_long_by_itself_dies_in_the_end(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "huge")
        kinds = []
        while (await states(desk, "bob"))[0][1] is messages.MessageState.QUEUED:
            desk.clock.advance(4000)
            plan = await begin(desk, "bob")
            kinds.append(plan["kind"])
            await end(desk, "bob", plan, Outcome.TOO_LONG)
            assert len(kinds) < 20
        assert (await states(desk, "bob"))[0][1] is messages.MessageState.DEAD
        assert kinds == ["mail"] * messages.DELIVERIES_MAX
        assert await parks(desk, "bob")
        # What comes after it does not stand behind it in one session.
        assert (await turn(desk, "bob", "small"))["session"] != plan["session"]

    told(story)


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_a_harness_that_dies_while_it_compacts_leaves_a_known_state(make_desk, deaths):
    async def story():
        desk = make_desk()
        await turn(desk, "bob")
        await turn(desk, "bob", "big", Outcome.TOO_LONG)
        for number in range(deaths):
            plan = await begin(desk, "bob", f"boot-{number}")
            assert plan["kind"] == "compaction"
        plan = await begin(desk, "bob", "boot-9")
        assert plan["kind"] == ("compaction" if deaths < 3 else "mail")
        assert plan["resume"] is (deaths < 3)
        bob = await desk.agent("bob")
        rows = await desk.store.read(lambda tx: tx.list_turns(bob.id))
        assert [row.outcome for row in rows[1 : deaths + 1]] == [Outcome.LOST] * deaths

    told(story)


def test_the_window_is_compacted_ahead_of_time_at_the_share_that_is_set(make_desk):
    async def story():
        desk = make_desk()
        await turn(desk, "bob", usage=turns.Usage(context_tokens=749), window=1000)
        await turn(desk, "bob", usage=turns.Usage(context_tokens=750), window=1000)
        assert await parks(desk, "bob"), "nothing is spent while there is no mail"
        await desk.mail.send(desk.olga, "bob", "next")
        compaction = await begin(desk, "bob")
        assert (compaction["kind"], compaction["woke_by"]) == (
            "compaction", "the model's window is filling up",
        )  # fmt: skip
        await end(desk, "bob", compaction, usage=turns.Usage(context_tokens=40))
        row = await desk.row("bob")
        seen = await desk.store.read(lambda tx: sessions.view(tx, row))
        assert (seen["context_tokens"], seen["window_tokens"]) == (40, 1000)
        assert (await begin(desk, "bob"))["messages"][0]["body"] == "next"

    told(story)


def test_a_failed_compaction_parks_only_where_the_turn_would_fail_too(make_desk):
    async def story():
        desk = make_desk()
        await turn(desk, "bob")
        await desk.turns.control.compact(desk.olga, "bob")
        plan = await begin(desk, "bob")
        await end(desk, "bob", plan, Outcome.FAILED, note="500")
        assert (await desk.row("bob")).turn_state is agents.TurnState.IDLE
        await turn(desk, "bob", "big", Outcome.TOO_LONG)
        plan = await begin(desk, "bob")
        await end(desk, "bob", plan, Outcome.FAILED, note="500")
        assert (await desk.row("bob")).turn_state is agents.TurnState.BACKING_OFF
        desk.clock.advance(10)
        assert (await begin(desk, "bob"))["kind"] == "compaction"

    told(story)


def test_dataclasses_of_sessions_survive_the_store(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.turns.control.new_session(desk.olga, "bob")
        kept = await desk.store.read(lambda tx: sessions.load(tx, bob.id))
        changed = dataclasses.replace(kept, tries=2, told=False, context=5, window=9)
        await desk.store.write(lambda tx: sessions.save(tx, bob.id, changed))
        assert await desk.store.read(lambda tx: sessions.load(tx, bob.id)) == changed

    told(story)
