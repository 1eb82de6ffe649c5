"""What waits, in a real browser: why, until when, and letting it go on; budgets of the day."""

from __future__ import annotations

import datetime

import pytest
from playwright.async_api import expect

from hyperhive.domain import agents, ids, turns
from hyperhive.services import holding, holds
from rigs.page import Hive

pytestmark = pytest.mark.browser


async def hold(hive: Hive, name: str, reason: holds.Reason, text: str, about: ids.AgentId) -> None:
    row, now = await hive.agent(name), hive.clock.now()
    why = holds.Hold(reason, now, now + datetime.timedelta(hours=2), text, about)
    await hive.store.write(lambda tx: holding.hold(tx, row.id, why))


def test_a_loop_shows_why_both_wait_and_one_click_lets_both_go_on(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        section = page.get_by_test_id("waiting")
        await expect(section).to_contain_text("Nothing waits.")
        alice, bob = await hive.agent("alice"), await hive.agent("bob")
        text = "alice and bob exchanged 41 messages in 30 minutes and nobody else wrote"
        await hold(hive, "alice", holds.Reason.LOOP, text, bob.id)
        await hold(hive, "bob", holds.Reason.LOOP, text, alice.id)
        row = page.get_by_test_id("wait-alice")
        await expect(row).to_contain_text(text)
        await expect(row).to_contain_text("in 1 h")
        await expect(page.get_by_test_id("waiting-count")).to_have_text("2")
        state = page.get_by_test_id("agent-bob").get_by_test_id("state")
        await expect(state).to_have_attribute("data-state", "paused")
        button = row.get_by_role("button", name="Let alice go on")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(section).to_contain_text("Nothing waits.")
        await expect(state).to_have_attribute("data-state", "idle")
        assert hive.verbs.calls == [("go-on", {"name": "alice"})]

    tell(story)


def test_a_budget_is_set_on_the_page_and_what_it_holds_goes_on_when_it_is_raised(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        bob = await hive.agent("bob")
        used = ("claude-haiku-4-5", turns.Usage(output_tokens=90_000))
        await hive.budgets.charge(bob.id, used)
        await page.get_by_test_id("budgets").locator("summary").click()
        row = page.get_by_test_id("budget-bob")
        await expect(row).to_contain_text("$0.4500")
        await row.get_by_test_id("budget-usd").fill("0.40")
        await row.get_by_test_id("budget-set").click()
        await expect(row.get_by_test_id("budget-clear")).to_be_visible()
        refused = await hive.store.write(lambda tx: hive.budgets.before_turn(tx, bob))
        assert refused is None
        wait = page.get_by_test_id("wait-bob")
        await expect(wait).to_contain_text("bob's budget: 0.4500 of 0.4000 USD used today")
        await expect(wait).to_have_attribute("data-reason", "budget")
        await row.get_by_test_id("budget-usd").fill("5")
        await row.get_by_test_id("budget-set").click()
        await expect(page.get_by_test_id("waiting")).to_contain_text("Nothing waits.")
        await row.get_by_test_id("budget-clear").click()
        await expect(row.get_by_test_id("budget-usd")).to_have_value("")
        await row.get_by_test_id("budget-tokens").fill("many")
        await row.get_by_test_id("budget-set").click()
        await expect(page.get_by_test_id("toast")).to_contain_text('"many" is not a number')

    tell(story, may_complain=True)


def test_a_halted_agent_and_a_phone(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("bob")
        await hive.agent("bob", phase=agents.Phase.HALTED, phase_note="crashed 5 times")
        row = page.get_by_test_id("wait-bob")
        await expect(row).to_contain_text("crashed 5 times · until you act")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        await row.get_by_test_id("go-on").tap()
        await expect(page.get_by_test_id("toast")).to_have_count(0)
        assert hive.verbs.calls == [("start", {"name": "bob"})]

    tell(story, size={"width": 390, "height": 800}, touch=True)
