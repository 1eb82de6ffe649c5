"""The page of statistics: at any width, in either light, for readers and for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from hyperhive.domain import turns
from rigs.store_world import make_turn

pytestmark = pytest.mark.browser


def _contrast() -> str:
    place = Path(__file__).with_name("test_look.py")
    spec = importlib.util.spec_from_file_location("look", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CONTRAST


async def set_up(visit: Any) -> None:
    hive = visit.hive
    coder, manager = await hive.agent("coder"), await hive.agent("manager")
    now = hive.clock.now()
    used = turns.Usage(1000, 500, 8000, 1000, 1.25, 9000)

    def turn(name: str, agent: str, hours: float, **changed: Any) -> turns.Turn:
        began = now - datetime.timedelta(hours=hours)
        made = dataclasses.replace(
            make_turn(name, agent), started_at=began, outcome=turns.Outcome.OK, usage=used,
            ended_at=began + datetime.timedelta(seconds=12),
        )  # fmt: skip
        return dataclasses.replace(made, **changed)

    rows = [
        turn("1", coder.id, 1, model="<b>big</b>", woke_by="manager", tool_calls=7),
        turn("2", coder.id, 2, outcome=turns.Outcome.FAILED, usage=turns.Usage()),
        turn("3", manager.id, 30),
        turn("4", manager.id, 500, model="m" * 200, woke_by="x" * 60),
    ]

    def work(tx: Any) -> None:
        for row in rows:
            tx.insert_turn(row)

    await hive.store.write(work)


def test_each_time_shows_its_turns_and_can_be_downloaded(tell) -> None:
    async def story(visit) -> None:
        page = visit.page
        await set_up(visit)
        await page.get_by_test_id("menu").locator("summary").click()
        await page.get_by_test_id("menu-statistics").click()
        await visit.live()
        table = page.get_by_role("table")
        rows = page.get_by_test_id("stats-row")
        await expect(rows).to_have_count(3)
        await expect(page.get_by_test_id("stats-turns")).to_have_text("3")
        await expect(page.get_by_test_id("stats-money")).to_have_text("$2.50")
        await expect(page.get_by_test_id("stats-in")).to_have_text("20k")
        await expect(page.get_by_test_id("stats-total")).to_contain_text("80 % from the cache")
        await expect(table.get_by_role("columnheader")).to_have_count(11)
        big = page.locator("[data-testid=stats-row][data-agent=coder]").first
        for words in ("<b>big</b>", "1 ok", "$1.25", "10k", "80 %", "12.0 s", "9.0k", "manager 1"):
            await expect(big).to_contain_text(words)
        await page.get_by_test_id("stats-days-1").click()
        await expect(rows).to_have_count(2)
        await expect(page.get_by_test_id("stats-days-1")).to_have_attribute("aria-pressed", "true")
        await page.get_by_test_id("stats-days-30").click()
        await expect(rows).to_have_count(4)
        async with page.expect_download() as download:
            await page.get_by_test_id("stats-csv").click()
        file = await download.value
        assert file.suggested_filename == "hive-statistics-30d.csv"
        text = Path(await file.path()).read_text()
        assert len(list(csv.DictReader(io.StringIO(text)))) == 4
        await big.get_by_role("link", name="coder").click()
        await visit.live()
        assert page.url == f"{visit.url}/agents/coder"

    tell(story)


def test_it_is_worked_out_on_request_alone(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await visit.open("/statistics")
        await expect(page.get_by_test_id("statistics")).to_contain_text("No turn in this time.")
        await set_up(visit)
        # The stream tells of it; the page does not ask anew.
        await hive.agent("coder", status="something new")
        await hive.say("coder", "operator", "look")
        stats = [url for url in asked if url.endswith("/actions/stats")]
        assert len(stats) == 1
        await page.get_by_test_id("stats-refresh").click()
        await expect(page.get_by_test_id("stats-row")).to_have_count(3)

    tell(story)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_sticks_out(tell, width: int) -> None:
    async def story(visit) -> None:
        page = visit.page
        await set_up(visit)
        await visit.open("/statistics")
        await page.get_by_test_id("stats-days-30").click()
        await expect(page.get_by_test_id("stats-row")).to_have_count(4)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        # Also as cards it is a table to whoever reads it aloud.
        await expect(page.get_by_role("table").get_by_role("row")).to_have_count(5)
        await expect(page.get_by_role("table").get_by_role("rowheader")).to_have_count(4)

    tell(story, size={"width": width, "height": 800})


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_figure_can_be_read(tell, scheme: str) -> None:
    async def story(visit) -> None:
        await set_up(visit)
        await visit.open("/statistics")
        await expect(visit.page.get_by_test_id("stats-row")).to_have_count(3)
        assert await visit.page.evaluate(_contrast()) == []

    tell(story, scheme=scheme)
