"""Commands in the terminal of an agent's page: what is typed, what is done, what is never sent."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from hyperhive.domain import turns
from hyperhive.services.turns import FinishReport

pytestmark = pytest.mark.browser

KINDS = frozenset(turns.TurnKind)


async def type_line(page, text: str) -> None:
    """Type a line and send it, past the completion."""
    box = page.get_by_test_id("prompt")
    await box.fill(text)
    await page.get_by_test_id("prompt-send").click()


async def a_turn(hive, name: str, context: int = 150_000) -> None:
    """One whole turn of an agent, as its harness would have it."""
    row = await hive.agent(name)
    await hive.say("manager", name, "Work.")
    plan = await hive.turns.take(row.id, "boot", KINDS)
    await hive.turns.session_exists(row.id, plan["turn"], plan["session"])
    usage = turns.Usage(context_tokens=context)
    report = FinishReport(turns.Outcome.OK, usage=usage, window=1_000_000)
    await hive.turns.finish(row.id, plan["turn"], report)


def test_every_command_does_what_it_says(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        coder = await hive.agent("coder")
        await a_turn(hive, "coder")
        await visit.open("/agents/coder")
        done = page.get_by_test_id("command")
        await expect(page.get_by_test_id("context-chip")).to_have_text("context 150k of 1.0M")

        await type_line(page, "/help")
        for name in ("clear", "cancel", "compact", "model", "new-session", "pause", "resume"):
            await expect(done.last).to_contain_text(f"/{name}")

        await type_line(page, "/model claude-opus-5")
        await expect(done.last).to_contain_text("claude-opus-5, from the next turn on")
        await expect(page.get_by_test_id("model-chip")).to_have_text("claude-opus-5")
        await type_line(page, "/model")
        await expect(done.last).to_contain_text("the model is claude-opus-5")

        await type_line(page, "/pause a look at the bill")
        await expect(done.last).to_contain_text("its mail stays queued")
        badge = page.get_by_test_id("state")
        await expect(badge).to_contain_text("paused")
        await expect(page.locator(".agent-head")).to_contain_text("a look at the bill")
        await hive.say("manager", "coder", "More work.")
        await type_line(page, "/resume")
        await expect(badge).to_contain_text("idle")

        await type_line(page, "/compact")
        await expect(done.last).to_contain_text("compacts its session next")
        await expect(page.get_by_test_id("compacts-next")).to_be_visible()
        plan = await hive.turns.take(coder.id, "boot", KINDS)
        assert (plan["kind"], plan["messages"], plan["resume"]) == ("compaction", [], True)
        await expect(badge).to_contain_text("compacting")
        await type_line(page, "/cancel")
        await expect(done.last).to_contain_text("interrupt asked for")
        assert await hive.turns.orders(coder.id, plan["turn"]) == "interrupt"
        stopped = FinishReport(turns.Outcome.INTERRUPTED)
        await hive.turns.finish(coder.id, plan["turn"], stopped)

        await type_line(page, "/new-session")
        await expect(page.get_by_test_id("begins-anew")).to_be_visible()
        after = await hive.turns.take(coder.id, "boot", KINDS)
        assert after["resume"] is False
        assert after["session"] != plan["session"]
        await expect(page.get_by_test_id("begins-anew")).to_have_count(0)
        assert [c for c in hive.verbs.calls if c[0] == "send"] == []

    tell(story)


def test_what_is_no_command_is_refused_and_stays_and_is_never_sent(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await visit.open("/agents/coder")
        wrong = page.get_by_test_id("command-error")
        box = page.get_by_test_id("prompt")
        for line in ("/state/notes.md is wrong", "/new session", " /compact now", "/modell x"):
            await type_line(page, line)
            await expect(wrong.last).to_contain_text(line.strip())
            await expect(box).to_have_value(line)
        await type_line(page, "/compact")
        await expect(wrong.last).to_contain_text("it has none yet")
        assert [c for c in hive.verbs.calls if c[0] == "send"] == []

        await type_line(page, "//state/notes.md is wrong")
        await expect(box).to_have_value("")
        [sent] = [given for verb, given in hive.verbs.calls if verb == "send"]
        assert sent["body"] == "/state/notes.md is wrong"

    # A refused verb is an error answer, of which the browser tells its console.
    tell(story, may_complain=True)


def test_the_beginning_of_a_command_is_completed_by_the_keyboard(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await visit.open("/agents/coder")
        box, offered = page.get_by_test_id("prompt"), page.get_by_test_id("commands")
        await box.press_sequentially("/c")
        await expect(offered.get_by_role("option")).to_have_count(3)
        await box.press("ArrowDown")
        await expect(offered.get_by_role("option", selected=True)).to_contain_text("/cancel")
        await box.press("Escape")
        await expect(offered).to_have_count(0)
        await box.fill("/n")
        await box.press("Enter")
        # Completed, not done: that takes another Enter.
        await expect(box).to_have_value("/new-session")
        assert hive.verbs.calls == []
        await box.press("Enter")
        await expect(page.get_by_test_id("begins-anew")).to_be_visible()
        assert hive.verbs.calls == [("new-session", {"name": "coder"})]
        await box.press_sequentially("/mo")
        await box.press("Tab")
        await expect(box).to_have_value("/model ")

    tell(story)


def test_clear_empties_the_view_and_nothing_else(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.show("coder", "text", {"text": "an old line"})
        await visit.open("/agents/coder")
        terminal = page.get_by_test_id("terminal")
        await expect(terminal).to_contain_text("an old line")
        await type_line(page, "/clear")
        await expect(terminal).not_to_contain_text("an old line")
        await hive.show("coder", "text", {"text": "a new line"})
        await expect(terminal).to_contain_text("a new line")
        await page.get_by_test_id("older").click()
        await expect(terminal).to_contain_text("an old line")

    tell(story)


def test_the_buttons_do_the_same(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await a_turn(hive, "coder")
        await visit.open("/agents/coder")
        await page.get_by_test_id("pause").click()
        await expect(page.get_by_test_id("state")).to_contain_text("paused")
        await page.get_by_test_id("resume").click()
        await expect(page.get_by_test_id("state")).to_contain_text("idle")
        await page.get_by_test_id("compact").click()
        await expect(page.get_by_test_id("compacts-next")).to_be_visible()
        await page.get_by_test_id("new-session").click()
        await expect(page.get_by_test_id("begins-anew")).to_be_visible()
        await expect(page.get_by_test_id("compacts-next")).to_have_count(0)

    tell(story)
