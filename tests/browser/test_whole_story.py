"""The whole story in a real browser: real daemon, real claude program, real sandboxes.

Only the model is scripted. The pictures of the README are taken here: with HIVE_PICTURES set to
a directory they go there (tools/take_pictures.py), else to the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    ViewportSize,
    expect,
)  # fmt: skip
from tests.system import hive_process as hives
from tests.system.conftest import claude_binary as claude_binary
from tests.system.conftest import test_cache as test_cache

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.browser, pytest.mark.timeout(300)]

DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
SOON = 60_000
"""For what real agents do: they share the machine with other tests."""
WISH = "I could use a helper. Please ask for an agent named scout and give it a first small task."

# What a person would see pass by, however fast: each text of each state badge and working card.
WATCH = """() => {
  window.seen = [];
  const look = () => {
    for (const badge of document.querySelectorAll("[data-testid=state], .card.working")) {
      const place = badge.closest("[data-testid^=agent-], .card")?.dataset.testid ?? "head";
      const now = `${place} ${badge.dataset.state ?? badge.textContent}`;
      if (!window.seen.includes(now)) window.seen.push(now);
    }
  };
  new MutationObserver(look).observe(document.body, {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
  look();
}"""
EVENTS = """() => [...document.querySelectorAll("[data-testid=event]")]
  .map((event) => event.textContent)"""


class Desk:
    """Windows of one browser profile, and everything that went wrong in them."""

    def __init__(self, context: BrowserContext, url: str, pictures: Path) -> None:
        self.context = context
        self.url = url
        self.pictures = pictures
        self.complaints: list[str] = []

    async def window(self) -> Page:
        """A window that notes console errors, violations of the policy and failed requests."""
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    async def picture(self, page: Page, name: str) -> None:
        """Take a picture for the README; focus, carets and hover have no place in it."""
        await page.mouse.move(0, 0)
        await page.evaluate("document.activeElement.blur()")
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        await page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size < 400_000, f"{name} is too heavy for a README"


@contextlib.asynccontextmanager
async def sitting_down(chromium: Any, url: str, pictures: Path) -> AsyncIterator[Desk]:
    async with await chromium.browser.new_context(
        viewport=DESK, color_scheme="dark", device_scale_factor=1.5, locale="en-GB"
    ) as context:
        context.set_default_timeout(20_000)
        yield Desk(context, url, pictures)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where a hive lives; when it is over nothing of it may be left running."""
    yield tmp_path / "home"
    assert hives.processes_of(tmp_path / "home") == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("HIVE_PICTURES") or tmp_path / "pictures").absolute()


async def live(page: Page) -> None:
    await expect(page.get_by_test_id("connection")).to_have_attribute(
        "data-state", "live", timeout=30_000
    )


async def state(page: Page, agent: str, *wanted: str) -> None:
    """Wait until the page says that an agent is in one of these states."""
    badge = page.get_by_test_id(f"agent-{agent}").get_by_test_id("state")
    await expect(badge).to_have_attribute("data-state", re.compile("|".join(wanted)), timeout=SOON)


async def write(page: Page, text: str) -> None:
    """Write into the compose box as a person does: `@name` picks, Enter sends."""
    box = page.get_by_test_id("compose-text")
    await box.click()
    await page.keyboard.type("@man")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("recipient")).to_have_text("@manager")
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await expect(box).to_have_value("")


def card(page: Page, agent: str) -> Locator:
    """The request for an agent that waits for a decision."""
    return page.get_by_test_id("approvals").locator(".card").filter(has_text=f"spawn{agent}")


async def approve_a_helper(page: Page) -> None:
    """Ask for one, see the request, approve it, see it become an agent, read its report."""
    await state(page, "manager", "idle")
    await page.get_by_test_id("suggestion").click()
    await expect(page.get_by_test_id("compose-text")).to_have_value(WISH)
    await page.get_by_test_id("compose-text").fill("")
    await write(page, WISH)
    request = card(page, "scout")
    await expect(request.get_by_test_id("reason")).to_contain_text("I could use", timeout=SOON)
    await expect(page.get_by_test_id("inbox")).to_contain_text("I have asked for a helper")
    await expect(page).to_have_title("(2) hyperhive")
    await expect(page.get_by_test_id("agent-scout")).to_have_count(0)
    await page.evaluate(WATCH)
    await request.get_by_test_id("approve").click()
    await expect(page.get_by_test_id("inbox")).to_contain_text(
        "1229 primes below 10000; the largest is 9973", timeout=SOON
    )
    await state(page, "scout", "idle")
    await expect(page.get_by_test_id("agent-scout")).to_contain_text("done: counted primes")
    seen = await page.evaluate("window.seen")
    told = [line for line in seen if "scout" in line or "approval" in line]
    assert any(re.match(r"approval-1 scout is approved: .*spawning", line) for line in told), seen
    states = [line.split()[1] for line in told if line.startswith("agent-scout ")]
    order = ["spawning", "starting", "waking", "idle", "thinking"]
    assert states == [each for each in order if each in states], "out of order, or stopped"
    assert {"spawning", "thinking"} <= set(states)


async def watch_the_helper(page: Page) -> None:
    """Its live terminal: what it was told, wrote, ran and said, and an answer to a prompt."""
    await page.get_by_test_id("agent-scout").get_by_test_id("agent-link").click()
    await live(page)
    terminal = page.get_by_test_id("terminal")
    await expect(terminal).to_contain_text("turn, woken by manager")
    tools = page.get_by_test_id("tool")
    written = tools.and_(page.locator("[data-tool=Write]")).first
    await expect(written).to_contain_text("/state/primes.py")
    await expect(written.locator(".add").first).to_contain_text("sieve of Eratosthenes")
    run = tools.and_(page.locator("[data-tool=Bash]")).first
    await expect(run).to_contain_text("$ python3 /state/primes.py")
    await expect(run).to_contain_text("1229 primes below 10000")
    sent = tools.and_(page.locator("[data-tool=mcp__hive__send]")).first
    await expect(sent).to_contain_text("send → manager")
    await expect(sent).to_contain_text("sent as #")
    await expect(terminal.locator(".turn-end").first).to_contain_text("turn done")
    prompt = page.get_by_test_id("prompt")
    await prompt.fill("Please count the primes once more.")
    await page.keyboard.press("Enter")
    await expect(prompt).to_have_value("")
    answer = tools.and_(page.locator("[data-tool=mcp__hive__send]")).nth(1)
    await expect(answer).to_contain_text("send → operator", timeout=SOON)
    await expect(answer).to_contain_text("1229 primes below 10000")
    await expect(terminal.locator(".turn-end")).to_have_count(2, timeout=SOON)
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "idle")


async def survive_the_daemon(desk: Desk, page: Page, hive: hives.HiveProcess) -> None:
    """kill -9 of the daemon in the middle of a turn: the page says so and catches up by itself."""
    sleepy = {"tool": "Bash", "input": {"command": "sleep 5; echo slept through it"}}
    report = {
        "tool": "mcp__hive__send",
        "input": {"to": "operator", "body": "It said: {{last_result}}"},
    }
    await page.get_by_test_id("prompt").fill(script(sleepy, report, {"say": "All told."}))
    await page.get_by_test_id("prompt-send").click()
    terminal = page.get_by_test_id("terminal")
    await expect(terminal).to_contain_text("$ sleep 5", timeout=SOON)
    badge = page.get_by_test_id("connection")
    assert desk.complaints == []
    await asyncio.to_thread(hive.kill)
    await expect(badge).to_have_attribute("data-state", "reconnecting")
    await expect(badge).to_contain_text("since")
    port = desk.url.rpartition(":")[2]
    await asyncio.to_thread(hive.start, "--demo", "--port", port)
    await live(page)
    await expect(terminal.get_by_text("slept through it", exact=True)).to_be_visible(timeout=SOON)
    await expect(terminal).to_contain_text("All told.", timeout=SOON)
    await expect(terminal.locator(".turn-end")).to_have_count(3)
    assert [text for text in desk.complaints if "ERR_" not in text] == []
    desk.complaints.clear()
    followed = await page.evaluate(EVENTS)
    await page.reload()
    await live(page)
    await expect(terminal.locator(".turn-end")).to_have_count(3)
    assert await page.evaluate(EVENTS) == followed


async def interrupt_a_long_turn(page: Page, home: Path) -> None:
    """The interrupt ends the turn at once, says so, and the command with it."""
    long = {"tool": "Bash", "input": {"command": "sleep 4321"}}
    await page.get_by_test_id("prompt").fill(script(long))
    await page.get_by_test_id("prompt-send").click()
    await expect(page.get_by_test_id("terminal")).to_contain_text("$ sleep 4321", timeout=SOON)
    # The page shows the call as soon as the model makes it; the shell needs a moment more.
    await _until(lambda: _runs("sleep 4321"))
    await page.get_by_test_id("interrupt").click()
    await expect(page.get_by_test_id("turn-chip")).to_contain_text(
        "last turn interrupted", timeout=30_000
    )
    await expect(page.get_by_test_id("terminal")).to_contain_text("turn interrupted")
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "idle")
    await expect(page.get_by_test_id("interrupt")).to_have_count(0)
    await _until(lambda: not _runs("sleep 4321"))


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.05)


def _runs(command: str) -> bool:
    wanted = command.replace(" ", "\0").encode() + b"\0"
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes() == wanted:
                return True
    return False


async def deny_a_second(desk: Desk, page: Page) -> None:
    """A refusal reaches the manager with its note; here the pictures are taken."""
    await page.get_by_test_id("home").click()
    await live(page)
    await write(page, "Please also get a helper named critic, to check what scout has done.")
    request = card(page, "critic")
    await expect(request.get_by_test_id("approve")).to_be_visible(timeout=SOON)
    await state(page, "manager", "idle")
    await expect(page.get_by_test_id("inbox")).to_contain_text("helper named critic")
    cards = page.get_by_test_id("inbox").locator(".card")
    for message in ("I have asked for a helper named scout", "^scout.*I wrote", "It said: slept"):
        mail = cards.filter(has_text=re.compile(message))
        await mail.get_by_test_id("handled").click()
        await expect(mail).to_have_count(0)
    await page.evaluate("scrollTo(0, 0)")
    await desk.picture(page, "dashboard")
    phone = await desk.window()
    await phone.set_viewport_size(PHONE)
    await phone.goto(desk.url)
    await live(phone)
    await desk.picture(phone, "phone")
    await phone.close()
    await request.get_by_test_id("deny").click()
    await page.keyboard.type("not this week")
    await request.get_by_test_id("deny-confirm").click()
    await expect(request).to_have_count(0)
    await expect(page.get_by_test_id("inbox")).to_contain_text(
        'no agent named critic. You wrote: "not this week"', timeout=SOON
    )
    await page.get_by_test_id("approvals-history").click()
    history = page.get_by_test_id("approvals").locator(".decided")
    await expect(history).to_have_count(2)
    await expect(history.first).to_contain_text("by operator on the page")
    await expect(history.first).to_contain_text("not this week")


async def handle_all_mail(page: Page) -> None:
    waiting = page.get_by_test_id("inbox").locator(".card")
    for left in range(await waiting.count(), 0, -1):
        await expect(waiting).to_have_count(left)
        await waiting.first.get_by_test_id("handled").click()
    await expect(waiting).to_have_count(0)
    await expect(page.get_by_test_id("inbox")).to_contain_text("No mail waits for you")
    await expect(page).to_have_title("hyperhive")


async def leave(desk: Desk, page: Page, other: Page) -> None:
    """Signing out ends every window of this browser, and nothing is reachable any more."""
    assert desk.complaints == []
    await page.get_by_test_id("menu").locator("summary").click()
    await page.get_by_test_id("sign-out").click()
    await page.get_by_test_id("sign-in-page").wait_for()
    await other.get_by_test_id("sign-in-page").wait_for()
    for path in ("/", "/agents/scout"):
        await other.goto(desk.url + path)
        await other.get_by_test_id("sign-in-page").wait_for()
    statuses = await page.evaluate(
        """() => Promise.all([
          fetch("/api/snapshot"), fetch("/api/live?after=0"), fetch("/api/agents/scout/history"),
          fetch("/api/agents/scout/log"),
          fetch("/api/actions/send", {
            method: "POST", body: JSON.stringify({ to: "manager", body: "still here?" }),
            headers: { "Content-Type": "application/json", "X-Hive": "page" },
          }),
        ].map((answer) => answer.then((found) => found.status)))"""
    )
    assert statuses == [401] * 5
    assert await desk.context.cookies() == []


def test_from_signing_in_to_signing_out(chromium, home, pictures, test_cache) -> None:
    async def story(hive: hives.HiveProcess) -> None:
        url = hive.ready["url"]
        async with sitting_down(chromium, url, pictures) as desk:
            page = await desk.window()
            await page.goto(hive.ready["sign_in"])
            await live(page)
            await approve_a_helper(page)
            other = await desk.window()
            await other.goto(url)
            await live(other)
            await page.bring_to_front()
            await watch_the_helper(page)
            await page.get_by_test_id("terminal").evaluate("area => { area.scrollTop = 0 }")
            await desk.picture(page, "agent")
            await survive_the_daemon(desk, page, hive)
            await interrupt_a_long_turn(page, home)
            await deny_a_second(desk, page)
            await handle_all_mail(page)
            await live(other)
            await expect(other.get_by_test_id("inbox")).to_contain_text("No mail waits for you")
            await leave(desk, page, other)

    with hives.hive(home, test_cache, sandbox="host") as hive:
        hive.start("--demo")
        chromium.runner.run(story(hive))


def test_without_a_credential_the_page_offers_three_ways_and_mail_waits(
    chromium, home, pictures, test_cache
) -> None:
    async def story(hive: hives.HiveProcess) -> None:
        url = hive.ready["url"]
        async with sitting_down(chromium, url, pictures) as desk:
            page = await desk.window()
            await page.goto(hive.ready["sign_in"])
            await live(page)
            panel = page.get_by_test_id("model")
            await expect(panel).to_contain_text("The agents have no model yet")
            await expect(panel.get_by_label("API key").first).to_be_checked()
            await expect(panel.get_by_label("Long-lived token").first).to_be_visible()
            await expect(page.get_by_test_id("demo-badge")).to_have_count(0)
            await state(page, "manager", "idle", "needs_login")
            await write(page, "Who are you?")
            message = page.get_by_test_id("flow").locator(".message").filter(has_text="Who are")
            await expect(message.get_by_test_id("message-state")).to_have_text("queued")
            await page.get_by_test_id("model-demo").click()
            await expect(panel).to_have_count(0)
            await expect(page.get_by_test_id("demo-badge")).to_be_visible()
            await expect(page.get_by_test_id("inbox")).to_contain_text(
                "I am the scripted demo model", timeout=SOON
            )
            await expect(message.get_by_test_id("message-state")).to_have_text("handled")
            assert desk.complaints == []

    with hives.hive(home, test_cache, sandbox="host") as hive:
        hive.start()
        chromium.runner.run(story(hive))
