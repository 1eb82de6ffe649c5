"""The dashboard in a real browser: what the operator sees and does."""

from __future__ import annotations

import dataclasses
import re

import pytest
from playwright.async_api import expect

from hyperhive.domain import agents, approvals, ids, messages
from rigs.page import Hive

pytestmark = pytest.mark.browser


def test_a_link_signs_in_once_and_leaves_no_secret_behind(tell) -> None:
    async def story(visit) -> None:
        page = visit.page
        await page.goto(visit.url + "/")
        await expect(page.get_by_test_id("sign-in-page")).to_contain_text("hive login")
        link = visit.hive.page.sign_in_link()
        await page.goto(link)
        await visit.live()
        secret = link.partition("#")[2]
        assert secret not in page.url
        await page.go_back()
        assert secret not in page.url
        await page.goto(visit.url + "/")
        await visit.live()
        await page.get_by_test_id("menu").locator("summary").click()
        await page.get_by_test_id("sign-out").click()
        await page.get_by_test_id("sign-in-page").wait_for()
        await page.goto(link)
        await expect(page.get_by_test_id("sign-in-error")).to_contain_text("used before")
        await page.get_by_test_id("sign-in-input").fill(visit.hive.page.sign_in_link())
        await page.get_by_test_id("sign-in-button").click()
        await visit.live()

    tell(story, signed_in=False, may_complain=True)


def test_an_agent_changes_on_the_page_as_it_changes(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder", status="reading the parser")
        row = page.get_by_test_id("agent-coder")
        await expect(row).to_contain_text("reading the parser")
        await expect(row.get_by_test_id("state")).to_have_attribute("data-state", "idle")
        await hive.agent("coder", turn_state=agents.TurnState.THINKING)
        await expect(row.get_by_test_id("state")).to_have_attribute("data-state", "thinking")
        await hive.agent(
            "coder", phase=agents.Phase.CRASHED, phase_note="exited with code 137", crashes=2
        )
        await expect(row).to_contain_text("exited with code 137")
        await expect(row).to_contain_text("crash 2")

    tell(story)


def test_stop_start_restart_and_a_kill_that_asks_first(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        row = page.get_by_test_id("agent-coder")
        await row.get_by_test_id("kill").click()
        await expect(page.get_by_test_id("confirm")).to_contain_text("Kill coder?")
        await page.keyboard.press("Escape")
        await expect(page.get_by_test_id("confirm")).to_be_hidden()
        await row.get_by_test_id("kill").click()
        await page.get_by_test_id("confirm-no").click()
        assert hive.verbs.calls == []
        await row.get_by_test_id("kill").click()
        await page.get_by_test_id("confirm-yes").click()
        await row.get_by_test_id("start").click()
        await row.get_by_test_id("stop").click()
        await row.get_by_test_id("start").wait_for()
        await row.get_by_test_id("restart").click()
        await row.get_by_test_id("stop").wait_for()
        verbs = [name for name, _ in hive.verbs.calls]
        assert verbs == ["kill", "start", "stop", "restart"]
        assert {params["name"] for _, params in hive.verbs.calls} == {"coder"}

    tell(story)


def test_a_spawn_is_requested_approved_and_shown_to_the_end(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await page.get_by_test_id("spawn-form").locator("summary").click()
        await page.get_by_test_id("spawn-name").fill("scout")
        await page.get_by_test_id("spawn-description").fill("looks around")
        await page.get_by_test_id("spawn-submit").click()
        card = page.get_by_test_id("approval-1")
        await expect(card).to_contain_text("scout")
        await expect(card.get_by_test_id("reason")).to_have_text("looks around")
        await expect(page.get_by_test_id("approvals-count")).to_have_text("1")
        await expect(page.get_by_test_id("spawn-name")).to_have_value("")
        await card.get_by_test_id("approve").click()
        await expect(card).to_contain_text("approved")
        await hive.move(ids.ApprovalId(1), approvals.ApprovalState.BUILDING)
        await expect(card).to_contain_text("spawning")
        await hive.agent("scout")
        await hive.move(ids.ApprovalId(1), approvals.ApprovalState.DEPLOYED)
        await expect(card).to_have_count(0)
        await page.get_by_test_id("agent-scout").wait_for()
        await page.get_by_test_id("approvals-history").click()
        await expect(page.get_by_test_id("approval-1")).to_contain_text("by operator on the page")
        row = await hive.store.read(lambda tx: tx.get_approval(ids.ApprovalId(1)))
        assert hive.verbs.calls[-1] == ("approve", {"id": 1, "digest": row.digest})

    tell(story)


def test_a_denial_carries_its_note(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        caller = await hive.caller("manager")
        await hive.review.request_spawn(caller, "scout", "because")
        card = page.get_by_test_id("approval-1")
        await card.get_by_test_id("deny").click()
        await expect(card.get_by_test_id("deny-note")).to_be_focused()
        await page.keyboard.type("not this week")
        # Something else arrives meanwhile: neither the text nor the focus may go.
        await hive.review.request_spawn(caller, "other", "too")
        await page.get_by_test_id("approval-2").wait_for()
        await expect(card.get_by_test_id("deny-note")).to_be_focused()
        await expect(card.get_by_test_id("deny-note")).to_have_value("not this week")
        await card.get_by_test_id("deny-confirm").click()
        await expect(card).to_have_count(0)
        assert hive.verbs.calls == [("deny", {"id": 1, "note": "not this week"})]

    tell(story)


def test_a_stale_approval_is_refused_and_the_button_comes_back(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "because")
        button = page.get_by_test_id("approval-1").get_by_test_id("approve")
        await button.wait_for()

        def change(tx) -> None:
            row = tx.get_approval(ids.ApprovalId(1))
            tx.update_approval(dataclasses.replace(row, digest="f" * 64))

        await hive.store.write(change)
        await button.click()
        toast = page.get_by_test_id("toast")
        await expect(toast).to_contain_text("look at it again")
        await expect(button).to_have_attribute("aria-disabled", "false")
        await expect(button).to_be_focused()
        await toast.get_by_role("button", name="Dismiss").click()
        await expect(toast).to_have_count(0)

    tell(story, may_complain=True)


def test_mail_to_the_operator_is_answered_and_marked_handled(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        asked = await hive.say("coder", "operator", "May I?")
        card = page.get_by_test_id(f"inbox-{asked.id}")
        await expect(card).to_contain_text("May I?")
        await expect(page).to_have_title("(1) hyperhive")
        await card.get_by_test_id("reply").click()
        await expect(page.get_by_test_id("compose-text")).to_be_focused()
        await expect(page.get_by_test_id("recipient")).to_have_text("@coder")
        await page.keyboard.type("Yes.")
        await page.keyboard.press("Enter")
        await page.get_by_test_id(f"message-{asked.id + 1}").wait_for()
        _, params = hive.verbs.calls[0]
        assert (params["to"], params["body"], params["in_reply_to"]) == ("coder", "Yes.", asked.id)
        await card.get_by_test_id("handled").click()
        await expect(card).to_have_count(0)
        await expect(page.get_by_test_id("inbox")).to_contain_text("No mail waits for you")

    tell(story)


def test_a_name_is_completed_by_keyboard_and_mouse_and_stays(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await hive.agent("critic")
        await page.get_by_test_id("agent-critic").wait_for()
        box = page.get_by_test_id("compose-text")
        await box.fill("@c")
        options = page.get_by_test_id("completion").get_by_role("option")
        await expect(options).to_have_text(["@coder", "@critic"])
        await page.keyboard.press("ArrowDown")
        await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("recipient")).to_have_text("@critic")
        await page.keyboard.type("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Enter")
        await expect(box).to_have_value("")
        await expect(page.get_by_test_id("recipient")).to_have_text("@critic")
        await box.fill("@co")
        await options.first.click()
        await expect(page.get_by_test_id("recipient")).to_have_text("@coder")
        await page.keyboard.type("@manager hello")
        await expect(page.get_by_test_id("recipient")).to_have_text("@manager")
        await expect(box).to_have_value("hello")
        await page.reload()
        await visit.live()
        await expect(box).to_have_value("hello")
        sent = [(p["to"], p["body"]) for n, p in hive.verbs.calls if n == "send"]
        assert sent == [("critic", "one\ntwo")]

    tell(story)


def test_a_message_shows_where_it_stands_and_a_dead_one_can_be_requeued(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        sent = await hive.say("manager", "coder", "a task")
        state = page.get_by_test_id(f"message-{sent.id}").get_by_test_id("message-state")
        for step in (messages.MessageState.LEASED, messages.MessageState.DEAD):
            await hive.settle(sent.id, step, deliveries=5)
            await expect(state).to_have_text(step.value)
        await expect(page.get_by_test_id(f"message-{sent.id}")).to_contain_text("redelivered")
        await page.get_by_test_id("requeue").click()
        await expect(state).to_have_text("queued")

    tell(story)


async def fill(hive: Hive, count: int) -> None:
    for n in range(count):
        await hive.say("manager", "coder", f"message {n}\n" + "line\n" * (n % 12))


def test_nothing_the_operator_does_is_disturbed_by_what_arrives(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await fill(hive, 40)
        await visit.open()
        row = page.get_by_test_id("agent-coder")
        await row.get_by_test_id("log").locator("summary").click()
        await expect(row.locator("pre")).to_contain_text("harness")
        box = page.get_by_test_id("compose-text")
        await box.fill("half a sent")
        await box.evaluate("box => box.setSelectionRange(4, 6)")
        scroller = page.locator(".messages")
        await scroller.evaluate("area => { area.scrollTop = 700 }")
        marked = page.get_by_test_id("message-20")
        before = await marked.bounding_box()
        await fill(hive, 5)
        await hive.agent("coder", status="something new")
        await page.get_by_test_id("message-45").wait_for(state="attached")
        await expect(page.get_by_test_id("agent-coder")).to_contain_text("something new")
        await expect(box).to_be_focused()
        await expect(box).to_have_value("half a sent")
        assert await box.evaluate("box => [box.selectionStart, box.selectionEnd]") == [4, 6]
        after = await marked.bounding_box()
        assert before and after and abs(before["y"] - after["y"]) < 2
        await expect(page.get_by_test_id("agent-coder").locator("pre")).to_be_visible()

    tell(story)


def test_the_page_says_when_it_is_not_live_and_catches_up(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.page.close()
        badge = page.get_by_test_id("connection")
        await expect(badge).to_have_attribute("data-state", "reconnecting")
        await expect(badge).to_contain_text("since")
        await hive.say("manager", "operator", "while you were away")
        port = int(visit.url.rpartition(":")[2])
        again = hive.new_page(dataclasses.replace(hive.settings, port=port))
        await again.start()
        await expect(badge).to_have_attribute("data-state", "live", timeout=20_000)
        await expect(page.get_by_test_id("inbox")).to_contain_text("while you were away")
        await again.close()

    tell(story, may_complain=True)


def test_a_missing_credential_is_asked_for_and_the_demo_is_one_click(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.set_model("none")
        panel = page.get_by_test_id("model")
        await panel.wait_for()
        await expect(page.get_by_test_id("demo-badge")).to_have_count(0)
        field = page.get_by_test_id("model-secret")
        assert await field.get_attribute("type") == "password"
        await page.get_by_test_id("model-kind-token").check()
        await field.fill("sk-ant-oat01-secret")
        await page.get_by_test_id("model-save").click()
        await expect(panel).to_have_count(0)
        source = hive.model.current()
        assert (source.kind.value, source.secret) == ("token", "sk-ant-oat01-secret")
        await hive.set_model("none")
        await page.get_by_test_id("model-demo").click()
        await expect(page.get_by_test_id("demo-badge")).to_be_visible()
        await page.get_by_test_id("suggestion").click()
        await expect(page.get_by_test_id("compose-text")).to_have_value(re.compile("helper"))

    tell(story)


def test_the_theme_has_a_plain_side_and_plain_names_in_both(tell) -> None:
    async def story(visit) -> None:
        page = visit.page
        title = page.get_by_role("heading", name="Containers")
        await expect(title).to_be_visible()
        await expect(page.get_by_role("button", name="Kill manager")).to_have_text(
            re.compile("K1LL")
        )
        await page.get_by_test_id("menu").locator("summary").click()
        await page.get_by_test_id("theme").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", "plain")
        await expect(title.locator(".leet")).to_be_hidden()
        await page.keyboard.press("Escape")
        await expect(page.get_by_test_id("theme")).to_be_hidden()
        await page.reload()
        await visit.live()
        await expect(page.locator("html")).to_have_attribute("data-theme", "plain")

    tell(story)
