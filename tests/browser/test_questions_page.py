"""Questions in a real browser: always there, answered in any way, and nothing typed is lost."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from hyperhive.domain import access, ids
from hyperhive.domain.questions import QuestionState
from hyperhive.services import asking

pytestmark = pytest.mark.browser


async def ask(hive, name: str, text: str, to: str = "operator", **given):
    return await hive.asking.ask(await hive.caller(name), to, text, **given)


async def row(hive, number: int):
    found = await hive.store.read(lambda tx: tx.get_question(ids.QuestionId(number)))
    assert found is not None
    return found


def test_a_question_appears_and_is_answered_with_picks_and_words(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        section = page.get_by_test_id("questions")
        await expect(section).to_contain_text("No question waits for you.")
        await expect(page).to_have_title("hyperhive")
        await ask(
            hive, "coder", "Which colours?\nAll that you like.",
            options=["red", "blue, dark", "green"], multi=True,
        )  # fmt: skip
        card = page.get_by_test_id("question-1")
        await expect(card.get_by_test_id("question-text")).to_contain_text("All that you like.")
        await expect(card).to_contain_text("coder")
        await expect(page.get_by_test_id("questions-count")).to_have_text("1")
        await expect(page).to_have_title("(1) hyperhive")
        button = card.get_by_test_id("answer")
        await expect(button).to_have_attribute("aria-disabled", "true")
        await button.click(force=True)
        assert hive.verbs.calls == []
        await card.get_by_test_id("option-2").check()
        await card.get_by_test_id("option-0").check()
        await card.get_by_test_id("answer-text").fill("but no black")
        await button.click()
        await expect(card).to_have_count(0)
        await expect(section).to_contain_text("No question waits for you.")
        await expect(page).to_have_title("hyperhive")
        assert hive.verbs.calls == [
            ("answer", {"id": 1, "picks": ["red", "green"], "text": "but no black"})
        ]
        assert (await row(hive, 1)).answer == "red, green, but no black"
        await page.get_by_test_id("questions-history").click()
        await expect(page.get_by_test_id("given-answer")).to_have_text("red, green, but no black")
        await expect(page.get_by_test_id("question-1")).to_contain_text("by operator on the page")

    tell(story)


def test_of_single_options_one_is_picked_or_none(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await ask(hive, "coder", "Delete it?", options=["yes", "no"])
        card = page.get_by_test_id("question-1")
        await card.get_by_test_id("option-0").check()
        await card.get_by_test_id("option-1").check()
        await expect(card.get_by_test_id("option-0")).not_to_be_checked()
        await card.get_by_test_id("option-1").uncheck()
        await expect(card.get_by_test_id("answer")).to_have_attribute("aria-disabled", "true")
        await card.get_by_test_id("answer-text").fill("wait a day")
        await card.get_by_test_id("answer-text").press("Control+Enter")
        await expect(card).to_have_count(0)
        assert (await row(hive, 1)).answer == "wait a day"

    tell(story)


def test_what_is_typed_stays_while_other_questions_come_and_go(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await ask(hive, "coder", "one?", ttl_seconds=3600)
        await ask(hive, "coder", "two?", options=["a", "b"])
        card = page.get_by_test_id("question-2")
        text = card.get_by_test_id("answer-text")
        await card.get_by_test_id("option-1").check()
        await text.fill("half a sent")
        await text.focus()
        await ask(hive, "tester", "three?")
        await page.get_by_test_id("question-3").wait_for()
        await hive.asking.cancel(access.operator("admin socket"), 1)
        await expect(page.get_by_test_id("question-1")).to_have_count(0)
        await page.keyboard.type("ence")
        await expect(text).to_have_value("half a sentence")
        await expect(card.get_by_test_id("option-1")).to_be_checked()
        numbers = (
            await page.get_by_test_id("questions")
            .locator("li.card")
            .evaluate_all("cards => cards.map(card => card.dataset.testid)")
        )
        assert numbers == ["question-2", "question-3"]

    tell(story)


def test_a_question_counts_down_and_an_answer_that_is_too_late_harms_nothing(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        asked = await ask(hive, "coder", "now?", ttl_seconds=3600)
        card = page.get_by_test_id("question-1")
        await expect(card.get_by_test_id("countdown")).to_have_text(re.compile(r"ends in \d+ min"))
        await card.get_by_test_id("answer-text").fill("yes")
        # It ends in the store; the page that hears of it a moment later still shows the form.
        await page.route("**/api/actions/answer", late(hive, asked))
        await card.get_by_test_id("answer").click()
        await expect(page.get_by_test_id("toast")).to_contain_text("it is expired")
        await expect(card).to_have_count(0)
        assert (await row(hive, 1)).state is QuestionState.EXPIRED
        await page.get_by_test_id("questions-history").click()
        await expect(page.get_by_test_id("question-1")).to_contain_text("nobody answered")

    def late(hive, asked):
        async def serve(route) -> None:
            await hive.store.write(lambda tx: asking.expire_due(tx, asked.expires_at))
            await route.continue_()

        return serve

    tell(story, may_complain=True)


def test_a_question_is_cancelled_and_one_between_agents_is_seen_and_answered(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("tester")
        await ask(hive, "coder", "mine?")
        await page.get_by_test_id("question-1").get_by_test_id("cancel-question").click()
        await expect(page.get_by_test_id("question-1")).to_have_count(0)
        assert (await row(hive, 1)).answer == "[cancelled]"
        await ask(hive, "coder", "yours?", to="tester")
        await expect(page.get_by_test_id("questions-count")).to_have_text("0")
        tab = page.get_by_test_id("questions-agents")
        await expect(tab).to_have_text("between agents 1")
        await tab.click()
        card = page.get_by_test_id("question-2")
        await expect(card).to_contain_text("coder")
        await expect(card).to_contain_text("asks tester")
        await card.get_by_test_id("answer-text").fill("I say no")
        await card.get_by_test_id("answer").click()
        await expect(card).to_have_count(0)
        assert (await row(hive, 2)).answered_by == "operator"

    tell(story)


def test_hostile_words_of_a_question_are_only_words(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        evil = "<img src=x onerror=alert(1)>\u202eno"
        await ask(hive, "coder", evil, options=[evil, "w" * 200])
        card = page.get_by_test_id("question-1")
        await expect(card.get_by_test_id("question-text")).to_contain_text("<img src=x")
        await expect(card.get_by_test_id("question-text")).to_contain_text("\\u202e")
        await card.get_by_test_id("option-0").check()
        assert await page.locator("#questions img").count() == 0
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide
        await card.get_by_test_id("answer").click()
        await expect(card).to_have_count(0)
        assert (await row(hive, 1)).answer == evil

    tell(story, size={"width": 360, "height": 700})


def test_what_waited_before_the_page_was_opened_is_there(tell) -> None:
    async def story(visit) -> None:
        await ask(visit.hive, "coder", "still there?")
        await visit.sign_in()
        await expect(visit.page.get_by_test_id("question-1")).to_contain_text("still there?")
        await visit.page.reload()
        await visit.live()
        await expect(visit.page.get_by_test_id("question-1")).to_contain_text("still there?")

    tell(story, signed_in=False)
