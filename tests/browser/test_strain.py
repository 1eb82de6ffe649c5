"""What would wear a page out: endless words, odd events, late agents, refused keys, hidden tabs."""

from __future__ import annotations

import asyncio
import datetime
import re

import pytest
from playwright.async_api import expect

from hyperhive.domain import agents

pytestmark = pytest.mark.browser

ODD = (None, 7, -1.5, True, "words", "\ud83d", [], [None, [1]], {}, {"deep": {"er": [{}]}})
KINDS = (
    "wake", "text", "thinking", "tool_use", "tool_result", "result", "note", "__proto__", "other",
)  # fmt: skip
KEYS = (
    "id", "from", "type", "body", "text", "name", "input", "content", "is_error", "missing",
    "outcome", "note", "tool_calls", "usage", "redelivered", "in_reply_to",
)  # fmt: skip
TOOLS = (
    "Bash", "Write", "Edit", "Read", "Glob", "Grep", "TodoWrite", "mcp__hive__send",
    "mcp__hive__recv", "mcp__hive__set_status", "mcp__hive__request_spawn", "mcp__hive__peers",
    "mcp__hive__whoami", "constructor",
)  # fmt: skip


def test_one_endless_word_does_not_stop_the_page(tell) -> None:
    """With a font that kerns it, a browser lays one word out in quadratic time."""

    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        word = "A" * 200 * 1024
        await hive.show("coder", "text", {"text": word})
        await hive.show("coder", "tool_use", {"id": "1", "name": word[:9999], "input": {"a": word}})
        await hive.show("coder", "tool_result", {"id": "1", "content": word[: 64 * 1024]})
        sent = await hive.say("coder", "operator", f"{word} the end")
        for _ in range(20):
            await hive.say("manager", "coder", word)
        card = page.get_by_test_id(f"inbox-{sent.id}")
        await expect(card).to_contain_text("204808 characters")
        assert len(await card.get_by_test_id("body").text_content() or "") < 2000
        await card.get_by_role("button", name=re.compile("show all")).click()
        await expect(card).to_contain_text("AAA the end")
        assert (await card.get_by_test_id("body").text_content()) == f"{word} the end"
        await card.get_by_role("button", name="show less").click()
        await visit.open("/agents/coder")
        await expect(page.get_by_test_id("event")).to_have_count(2)
        await page.locator("summary").filter(has_text="64 KiB").click()
        wide = "document.documentElement.scrollWidth - innerWidth"
        assert await page.evaluate(wide) <= 0

    tell(story)


def test_no_event_of_an_agent_breaks_its_terminal(tell) -> None:
    """The data of an event comes out of a sandbox: it may be anything that JSON can say."""

    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder")
        rows = [("t1", kind, {key: odd}) for kind in KINDS for key in KEYS for odd in ODD]
        rows += [
            ("t2", "tool_use", {"id": f"{tool} {n}", "name": tool, "input": given})
            for tool in TOOLS
            for n, given in enumerate([*ODD, *({key: odd} for key in KEYS for odd in ODD)])
        ]
        answers = ["null", "7", '"x"', "[]", '{"messages":[null,3,{}],"agents":[null,3,{}]}', "{"]
        rows += [
            ("t2", "tool_result", {"id": f"{tool} {n}", "content": answer})
            for tool in TOOLS
            for n, answer in enumerate(answers)
        ]
        rows.append(("t3", "text", {"text": "still here"}))
        for start in range(0, len(rows), 1000):
            await hive.terminal.append(row.id, rows[start : start + 1000])
            await visit.open("/agents/coder")
            await expect(page.get_by_test_id("event").last).to_be_visible()
        await expect(page.get_by_test_id("terminal")).to_contain_text("still here")
        await hive.show("coder", "text", {"text": "and live"})
        await expect(page.get_by_test_id("terminal")).to_contain_text("and live")

    tell(story)


def test_what_programs_print_is_shown_without_colours_and_cursor_moves(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        printed = (
            "\x1b[1;31mred\x1b[0m \x1b]8;;http://x.test\x07link\x1b]8;;\x1b\\ \x1b[2K\x1b(Bplain"
            "\r\n10%\r\r100%\r\n\x07bell"
        )
        call = {"id": "1", "name": "Bash", "input": {"command": "make"}}
        await hive.show("coder", "tool_use", call)
        await hive.show("coder", "tool_result", {"id": "1", "content": printed})
        await visit.open("/agents/coder")
        result = page.locator("pre.tool-result")
        assert await result.text_content() == "red link plain\n10%\n100%\n\\u0007bell"

    tell(story)


def test_a_turn_that_never_ended_is_called_lost_when_the_next_begins(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        mail = {"id": 1, "from": "manager", "type": "text", "body": "Go."}
        await hive.show("coder", "wake", mail, "t1")
        await visit.open("/agents/coder")
        await expect(page.get_by_test_id("event")).to_have_count(1)
        await expect(page.get_by_test_id("terminal")).not_to_contain_text("turn lost")
        await hive.show("coder", "wake", mail | {"redelivered": True}, "t2")
        await expect(page.get_by_test_id("terminal")).to_contain_text("turn lost")
        await hive.show("coder", "result", {"outcome": "ok"}, "t2")
        await hive.show("coder", "wake", mail | {"id": 2}, "t3")
        await expect(page.locator(".turn-start")).to_have_count(3)
        await expect(page.get_by_text("turn lost")).to_have_count(1)

    tell(story)


def test_the_page_of_an_agent_that_comes_later_goes_live_by_itself(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await visit.open("/agents/coder")
        await expect(page.locator("main")).to_contain_text("no agent named coder")
        await hive.show("coder", "text", {"text": "born"})
        await expect(page.get_by_test_id("terminal")).to_contain_text("born")
        await hive.show("coder", "text", {"text": "and talking"})
        await expect(page.get_by_test_id("terminal")).to_contain_text("and talking")
        await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "live")

    tell(story)


def test_waits_count_down_without_news(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        soon = hive.clock.now() + datetime.timedelta(seconds=50)
        await hive.agent("coder")
        await hive.agent("coder", phase=agents.Phase.CRASHED, crashes=2, retry_at=soon)
        stamp = soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        await hive.agent("slow")
        await hive.agent(
            "slow", turn_state=agents.TurnState.BACKING_OFF, turn_note=f"no; next try at {stamp}"
        )
        crashed, slow = page.get_by_test_id("agent-coder"), page.get_by_test_id("agent-slow")
        await expect(crashed).to_contain_text(re.compile(r"crash 2, next start in [45]\d s"))
        await expect(slow).to_contain_text(re.compile(r"next try at \d\d:\d\d:\d\d in [45]\d s"))
        for row in (crashed, slow):
            before = await row.locator(".status").text_content()
            await expect(row.locator(".status")).not_to_have_text(before or "")

    tell(story)


def test_a_refused_credential_can_be_replaced_on_the_page(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.set_model("api_key", "sk-ant-wrong")
        panel = page.get_by_test_id("model")
        await expect(panel).to_have_count(0)
        await hive.agent("manager", turn_state=agents.TurnState.NEEDS_LOGIN, turn_note="Invalid")
        await expect(panel).to_contain_text("refuses the credential")
        await visit.open("/agents/manager")
        await page.get_by_test_id("model-hint").get_by_role("link").click()
        await visit.live()
        await page.get_by_test_id("model-secret").fill("sk-ant-right")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("model-secret")).to_have_value("")
        assert hive.model.current().secret == "sk-ant-right"
        await hive.agent("manager", turn_state=agents.TurnState.THINKING, turn_note="")
        await expect(panel).to_have_count(0)
        await page.get_by_test_id("menu").locator("summary").click()
        await page.get_by_test_id("menu-model").click()
        await expect(page.get_by_test_id("menu-model")).to_be_hidden()
        await expect(panel).to_contain_text("comes from an API key")
        await page.get_by_test_id("model-close").click()
        await expect(panel).to_have_count(0)
        assert page.url == visit.url + "/"

    tell(story)


def test_a_new_request_does_not_push_another_under_the_pointer(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        caller = await hive.caller("manager")
        await hive.review.request_spawn(caller, "first", "because")
        button = page.get_by_test_id("approval-1").get_by_test_id("approve")
        before = await button.bounding_box()
        await hive.review.request_spawn(caller, "second", "because")
        await page.get_by_test_id("approval-2").wait_for()
        assert await button.bounding_box() == before

    tell(story)


def test_of_the_windows_that_nobody_sees_one_goes_on_and_tells_what_waits(tell) -> None:
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""

    async def story(visit) -> None:
        pages = [await visit.context.new_page() for _ in range(3)]
        for page in pages:
            await page.clock.install()
            await page.goto(visit.url)
            await page.wait_for_selector("[data-testid=connection][data-state=live]")
            await page.evaluate(hide, True)
        for page in pages:
            await page.clock.run_for(40_000)
        states: list[str | None] = []
        async with asyncio.timeout(20):
            while sorted(map(str, states)) != ["live", "paused", "paused"]:
                badges = [page.get_by_test_id("connection") for page in pages]
                states = [await badge.get_attribute("data-state") for badge in badges]
        awake = pages[states.index("live")]
        asleep = pages[states.index("paused")]
        await visit.hive.say("manager", "operator", "look")
        await expect(awake).to_have_title("(1) hyperhive")
        await expect(asleep).to_have_title("hyperhive")
        await asleep.evaluate(hide, False)
        await expect(asleep).to_have_title("(1) hyperhive")

    tell(story)


def test_the_keyboard_reaches_everything_and_shows_where_it_is(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await hive.say("coder", "operator", "May I?")
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "why")
        await page.get_by_test_id("approval-1").wait_for()
        await page.get_by_test_id("inbox").locator(".card").wait_for()
        wanted = await page.evaluate(REACHABLE)
        seen = []
        for _ in range(len(wanted) + 5):
            await page.keyboard.press("Tab")
            name, outlined = await page.evaluate(FOCUSED)
            assert name == "BODY" or outlined, f"no ring around {name}"
            seen.append(name)
        assert set(wanted) <= set(seen), set(wanted) - set(seen)
        kill = page.get_by_test_id("agent-coder").get_by_test_id("kill")
        await kill.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("confirm-no")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(kill).to_be_focused()
        await page.keyboard.press("Space")
        await expect(page.get_by_test_id("confirm-no")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_test_id("confirm-yes")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("confirm")).to_be_hidden()
        await page.get_by_test_id("agent-coder").get_by_test_id("start").wait_for()
        assert hive.verbs.calls == [("kill", {"name": "coder"})]

    tell(story)


def test_two_windows_show_the_same_and_a_decision_in_one_ends_it_in_the_other(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        other = await visit.context.new_page()
        await other.goto(visit.url)
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "why")
        cards = [each.get_by_test_id("approval-1") for each in (page, other)]
        await asyncio.gather(*(card.get_by_test_id("approve").wait_for() for card in cards))
        await cards[0].get_by_test_id("approve").click()
        await expect(cards[1]).to_contain_text("is approved")
        assert [name for name, _ in hive.verbs.calls] == ["approve"]

    tell(story)


# What can be focused, by what it is called; a group of radio buttons is one stop.
NAME = """(e) => `${e.tagName} ${e.closest("[data-testid]")?.dataset.testid} ` +
  (e.getAttribute("aria-label") ?? e.textContent).replace(/\\s+/g, " ").trim().slice(0, 40)"""
REACHABLE = f"""() => {{
  const name = {NAME};
  return [...document.querySelectorAll("a[href], button, textarea, input, summary")]
    .filter((e) => e.checkVisibility() && e.tabIndex >= 0).map(name);
}}"""
FOCUSED = f"""() => {{
  const name = {NAME}, e = document.activeElement;
  if (e === document.body) return ["BODY", false];
  const style = getComputedStyle(e);
  return [name(e), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}}"""
