"""A real Chromium and a hive for it, on one event loop per test."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from hyperhive.adapters.clock.system import SystemClock
from rigs.page import Hive, running

T = TypeVar("T")
CHROMIUM = "/usr/bin/chromium"
DESK = {"width": 1280, "height": 900}


@dataclasses.dataclass
class Visit:
    """A signed-in page, the hive behind it, and what went wrong in the browser meanwhile."""

    hive: Hive
    url: str
    page: Page
    context: BrowserContext
    complaints: list[str]

    async def open(self, path: str = "/") -> None:
        """Go there and wait until it is live."""
        await self.page.goto(self.url + path)
        await self.live()

    async def live(self) -> None:
        await self.page.wait_for_selector("[data-testid=connection][data-state=live]")

    async def sign_in(self) -> None:
        await self.page.goto(self.hive.page.sign_in_link())
        await self.live()


def _arguments() -> list[str]:
    quiet = [
        "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    return [*quiet, "--no-sandbox"] if os.geteuid() == 0 else quiet


@dataclasses.dataclass
class Chromium:
    """One browser and one event loop for all tests: starting either takes seconds."""

    runner: asyncio.Runner
    browser: Browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """Debian's Chromium, started once."""
    if shutil.which(CHROMIUM) is None:
        pytest.fail(f"{CHROMIUM} is missing: install Debian's package chromium")
    with asyncio.Runner() as runner:
        playwright = runner.run(async_playwright().start())
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=_arguments())
        browser = runner.run(_await(launched))
        yield Chromium(runner, browser)
        runner.run(_await(browser.close()))
        runner.run(_await(playwright.stop()))


async def _await(what: Awaitable[T]) -> T:
    return await what


@contextlib.asynccontextmanager
async def visiting(
    browser: Browser, home: Path, size: dict[str, int], scheme: str, *, touch: bool = False
) -> AsyncIterator[Visit]:
    """A fresh hive and a fresh browser profile."""
    async with (
        running(home, SystemClock()) as (hive, url),
        await browser.new_context(
            viewport=size,
            color_scheme=scheme,
            has_touch=touch,  # type: ignore[arg-type]
        ) as context,
    ):
        context.set_default_timeout(10_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        yield Visit(hive, url, page, context, complaints)


Story = Callable[[Visit], Awaitable[None]]
Tell = Callable[..., None]


@pytest.fixture
def tell(chromium: Chromium, tmp_path: Path) -> Tell:
    """Run a story with a signed-in browser: ``tell(story, size=…, scheme=…, signed_in=…)``."""

    def run(
        story: Story,
        *,
        size: dict[str, int] = DESK,
        scheme: str = "dark",
        signed_in: bool = True,
        may_complain: bool = False,
        touch: bool = False,
    ) -> None:
        async def main() -> None:
            async with visiting(chromium.browser, tmp_path, size, scheme, touch=touch) as visit:
                await visit.hive.agent("manager")
                if signed_in:
                    await visit.sign_in()
                await story(visit)
                if not may_complain:
                    assert visit.complaints == []

        chromium.runner.run(main())

    return run
