"""The page of one agent in a real browser: its terminal, its prompt, its mail."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from hyperhive.domain import access, agents, configuration, turns
from hyperhive.services.turns import FinishReport
from rigs import config_world

pytestmark = pytest.mark.browser


async def play_turn(hive, turn: str = "t1") -> None:
    """What a harness reports of one turn."""

    async def show(kind: str, **data) -> None:
        await hive.show("coder", kind, data, turn)

    mail = {"id": 1, "from": "manager", "type": "text", "body": "Fix it.", "redelivered": True}
    await show("wake", **mail)
    await show("thinking", text="A path is shared.")
    await show("text", text="I look first.")
    await show(
        "tool_use", id="1", name="Bash", input={"command": "pytest -q", "description": "Test"}
    )
    await show(
        "tool_result", id="1", content="\x1b[31mline\x1b[0m\n" * 60, is_error=False, missing=9
    )
    edit = {"file_path": "/state/a.py", "old_string": "one\ntwo", "new_string": "one\nthree"}
    await show("tool_use", id="2", name="Edit", input=edit)
    await show("tool_result", id="2", content="no such text", is_error=True)
    await show("tool_use", id="3", name="mcp__hive__send", input={"to": "manager", "body": "Done."})
    await show("tool_result", id="3", content='{"id": 7, "to": "manager"}', is_error=False)
    await show("tool_use", id="4", name="mcp__other__thing", input={"depth": 3})
    await show("note", text="a remark")
    usage = {"cost_usd": 0.0421}
    await show("result", outcome="ok", note="", tool_calls=4, usage=usage)


def test_a_turn_is_shown_for_reading(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await play_turn(hive)
        await visit.open("/agents/coder")
        terminal = page.get_by_test_id("terminal")
        await expect(terminal).to_contain_text("woken by manager")
        await expect(page.get_by_test_id("woken")).to_contain_text("redelivered")
        await expect(page.get_by_test_id("woken")).to_contain_text("Fix it.")
        tools = page.get_by_test_id("tool")
        await expect(tools.nth(0)).to_contain_text("$ pytest -q")
        folded = tools.nth(0).get_by_test_id("tool-result")
        await expect(folded.locator("summary")).to_contain_text("60 lines")
        await expect(folded.locator("pre")).to_be_hidden()
        await folded.locator("summary").click()
        await expect(folded.locator("pre")).to_contain_text("9 more characters")
        await expect(folded.locator("pre")).not_to_contain_text("31m")
        await expect(tools.nth(1).locator(".remove")).to_have_text("- two")
        await expect(tools.nth(1).locator(".add")).to_have_text("+ three")
        await expect(tools.nth(1).locator(".failed")).to_have_text("no such text")
        await expect(tools.nth(2)).to_contain_text("send → manager")
        await expect(tools.nth(2)).to_contain_text("sent as #7")
        await expect(tools.nth(3)).to_contain_text("other · thing")
        await expect(terminal).to_contain_text("a remark")
        await expect(terminal).to_contain_text("4 tool calls · $0.0421")

    tell(story)


def test_the_terminal_is_live_sticks_to_its_end_and_counts_what_it_hides(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        for n in range(60):
            await hive.show("coder", "text", {"text": f"line {n}"})
        await visit.open("/agents/coder")
        terminal = page.get_by_test_id("terminal")
        distance = "area => area.scrollHeight - area.scrollTop - area.clientHeight"
        await expect(terminal.get_by_text("line 59", exact=True)).to_be_in_viewport()
        await hive.show("coder", "text", {"text": "live one"})
        await expect(terminal.get_by_text("live one")).to_be_in_viewport()
        assert await terminal.evaluate(distance) < 2
        await terminal.hover()
        await page.mouse.wheel(0, -800)
        await page.wait_for_function(
            "() => document.querySelector('[data-testid=terminal]').scrollTop < 700"
        )
        top = await terminal.evaluate("area => area.scrollTop")
        for n in range(3):
            await hive.show("coder", "text", {"text": f"hidden {n}"})
        pill = page.get_by_test_id("new-pill")
        await expect(pill).to_have_text(re.compile("3 new"))
        assert await terminal.evaluate("area => area.scrollTop") == top
        await pill.click()
        await expect(terminal.get_by_text("hidden 2")).to_be_in_viewport()
        await expect(pill).to_have_count(0)

    tell(story)


def test_older_events_come_in_above_without_a_jump(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder")
        lines = [("t1", "text", {"text": f"line {n}"}) for n in range(2300)]
        await hive.terminal.append(row.id, lines)
        await visit.open("/agents/coder")
        events = page.get_by_test_id("event")
        await expect(events).to_have_count(2000)
        terminal = page.get_by_test_id("terminal")
        await terminal.evaluate("area => { area.scrollTop = 0 }")
        marked = terminal.get_by_text("line 300", exact=True)
        before = await marked.bounding_box()
        await page.get_by_test_id("older").click()
        await expect(events).to_have_count(2300)
        after = await marked.bounding_box()
        assert before and after and abs(before["y"] - after["y"]) < 60
        await expect(page.get_by_test_id("older")).to_have_count(0)

    tell(story)


def test_the_prompt_sends_on_enter_breaks_on_shift_enter_and_waits_for_an_ime(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder")
        await visit.open("/agents/coder")
        box = page.get_by_test_id("prompt")
        await box.fill("half a wo")
        await box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
        await expect(box).to_have_value("half a wo")
        await box.fill("one")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("two")
        await page.keyboard.press("Enter")
        await expect(box).to_have_value("")
        await expect(page.get_by_test_id("agent-inbox")).to_contain_text("one\ntwo")
        sent = [(p["to"], p["body"]) for name, p in hive.verbs.calls if name == "send"]
        assert sent == [("coder", "one\ntwo")]

    tell(story)


def test_the_head_shows_state_turn_context_and_cost_and_offers_the_interrupt(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder", turn_state=agents.TurnState.THINKING)
        hive.verbs.turns = [
            {
                "id": "t1", "started_at": "2026-01-01T00:00:00Z",
                "ended_at": "2026-01-01T00:00:48Z", "outcome": "rate_limited", "note": "later",
                "woke_by": "manager", "cost_usd": 0.25, "context_tokens": 48_211,
            }
        ]  # fmt: skip
        await visit.open("/agents/coder")
        await expect(page.get_by_test_id("state")).to_contain_text("thinking")
        await expect(page.get_by_test_id("model-chip")).to_have_text("claude-sonnet-5")
        await expect(page.get_by_test_id("turn-chip")).to_contain_text("rate limited · 48 s")
        await expect(page.get_by_test_id("context-chip")).to_have_text("context 48k")
        await expect(page.get_by_test_id("cost-chip")).to_have_text("$0.2500")
        await page.get_by_test_id("interrupt").click()
        await expect(page.get_by_test_id("toast")).to_contain_text("coder")  # No turn runs.
        assert hive.verbs.calls[-1] == ("interrupt", {"name": "coder"})
        hive.verbs.turns[0]["outcome"] = "ok"
        await hive.turn_ended(row.id)
        await expect(page.get_by_test_id("turn-chip")).to_contain_text("last turn ok")

    tell(story, may_complain=True)


def test_a_turn_whose_model_is_away_for_a_moment_can_be_interrupted(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder", turn_state=agents.TurnState.BACKING_OFF)
        turn = {
            "id": "t1", "started_at": "2026-01-01T00:00:00Z", "ended_at": None, "note": "",
            "outcome": "running", "woke_by": "manager", "cost_usd": 0.0, "context_tokens": 0,
        }  # fmt: skip
        hive.verbs.turns = [turn]
        await visit.open("/agents/coder")
        await page.get_by_test_id("interrupt").wait_for()
        turn["outcome"] = "failed"
        await hive.turn_ended(row.id)
        await expect(page.get_by_test_id("interrupt")).to_have_count(0)

    tell(story)


def test_an_unknown_agent_is_said_to_be_unknown(tell) -> None:
    async def story(visit) -> None:
        await visit.open("/agents/nobody")
        await expect(visit.page.locator("main")).to_contain_text("no agent named nobody")

    tell(story)


def test_hosts_that_were_refused_are_shown_as_they_come(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder")
        await visit.open("/agents/coder")
        await expect(page.get_by_test_id("prompt")).to_be_visible()
        await expect(page.get_by_test_id("refused")).to_have_count(0)
        await hive.refused.add(row.id, "evil.example:443", "not allowed")
        hosts = page.get_by_test_id("refused-host")
        await expect(hosts).to_have_count(1)
        await expect(hosts).to_contain_text("evil.example:443")
        await expect(hosts).to_contain_text("not allowed")
        for _ in range(2):
            await hive.refused.add(row.id, "evil.example:443", "not allowed")
        await hive.refused.add(row.id, "inside.example:443", "resolves to a private address")
        # Told at most once a minute; the next fact of the agent brings what came since.
        await hive.agent("coder", status="goes on")
        await expect(hosts).to_have_count(2)
        await expect(hosts.nth(0)).to_contain_text("inside.example:443")
        await expect(hosts.nth(1)).to_contain_text("3 times")

    tell(story)


def test_a_pause_can_be_ended_where_the_agent_is_shown(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder")
        await hive.say("manager", "coder", "work")
        plan = await hive.turns.take(row.id, "boot")
        report = FinishReport(turns.Outcome.RATE_LIMITED, "the limit is reached")
        await hive.turns.finish(row.id, plan["turn"], report)
        for place in ("/", "/agents/coder"):
            await visit.open(place)
            await expect(page.get_by_test_id("retry")).to_have_attribute(
                "aria-label", "Let coder try now"
            )
        await page.get_by_test_id("retry").click()
        await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "idle")
        assert hive.verbs.calls[-1] == ("retry", {"name": "coder"})
        await hive.turns.take(row.id, "boot")
        await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "thinking")
        await expect(page.get_by_test_id("retry")).to_have_count(0)

    tell(story)


def test_what_does_not_work_of_a_configuration_is_shown_until_it_does(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        row = await hive.agent("coder")
        wanted = configuration.Configuration(
            secrets={"TOKEN": "git-token"}, mcp_servers={"clock": configuration.McpServer("c")}
        )
        await config_world.deploy(
            hive.store, row.id, "a" * 40, configuration=configuration.to_json(wanted)
        )
        trouble = page.get_by_test_id("trouble")
        for place in ("/", "/agents/coder"):
            await visit.open(place)
            await expect(trouble).to_have_count(1)
            await expect(trouble).to_contain_text("hive secret set git-token")
        told = [{"name": "clock", "status": "failed"}]
        await hive.fleet.report_servers(row.id, told)
        await expect(trouble).to_have_count(2)
        await expect(trouble.nth(1)).to_have_text("MCP server clock: failed; its tools are missing")
        await hive.verbs.call(
            access.operator("page"), "set-secret", {"name": "git-token", "value": "x"}
        )
        await expect(trouble).to_have_count(1)
        await hive.fleet.report_servers(row.id, [{"name": "clock", "status": "connected"}])
        await expect(trouble).to_have_count(0)

    tell(story)
