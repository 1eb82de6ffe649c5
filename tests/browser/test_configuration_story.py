"""A configuration from a commit to a running agent and back, decided on the page of a real hive.

The real claude program, real sandboxes, real git and a real package; only the model is scripted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect
from tests.system import hive_process as hives
from tests.system.configuring import bash, configured_hive, ends, idle, proposes, says
from tests.system.conftest import claude_binary as claude_binary
from tests.system.conftest import test_cache as test_cache

pytestmark = [pytest.mark.system, pytest.mark.browser, pytest.mark.timeout(420)]

SOON = 120_000
"""For what real agents and installers do: they share the machine with other tests."""
WRITE = """\
cat >> agent.toml <<'END'
[packages]
apt = ["tree"]
END
printf '#!/bin/sh\\necho \\xe2\\x80\\xae hidden\\n' > run.sh
chmod +x run.sh
"""


@pytest.fixture
def hive(tmp_path: Path, test_cache: Path) -> Iterator[hives.HiveProcess]:
    with configured_hive(tmp_path / "home", test_cache) as process:
        yield process


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where the picture of the README goes (tools/take_pictures.py)."""
    return Path(os.environ.get("HIVE_PICTURES") or tmp_path / "pictures").absolute()


def test_a_commit_is_read_approved_run_and_taken_back_on_the_page(
    chromium: Any, hive: hives.HiveProcess, pictures: Path
) -> None:
    async def story() -> None:
        context = await chromium.browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(20_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        await page.goto(hive.ask("login")["sign_in"])
        coder = page.get_by_test_id("agent-coder")
        await expect(coder.get_by_test_id("deployed")).to_contain_text("deployed/0")

        asked = await asyncio.to_thread(proposes, hive, WRITE, "Give coder tree")
        number = asked["approval"]
        card = page.get_by_test_id(f"approval-{number}")
        await expect(card.get_by_test_id("reason")).to_have_text("Give coder tree")
        log = card.get_by_test_id("build-log")
        await log.locator("summary").click()
        state = card.get_by_test_id("build-state")
        await expect(state).to_have_attribute("data-state", "built", timeout=SOON)
        await expect(card.get_by_test_id("build-log-lines")).to_contain_text("tree")
        await expect(card.get_by_test_id("effect").first).to_contain_text("apt tree")
        script = card.locator("[data-testid=file][data-path='run.sh']")
        await expect(script).to_contain_text("executable")
        await expect(script.locator(".escape")).to_have_text("⟦U+202E⟧")
        await card.get_by_test_id("acknowledge-file").check()
        await log.locator("summary").click()
        # Tall enough that the page's head does not lie over it.
        await page.set_viewport_size({"width": 1280, "height": 1600})
        pictures.mkdir(parents=True, exist_ok=True)
        await card.scroll_into_view_if_needed()
        await card.screenshot(path=pictures / "card.png", animations="disabled")
        await card.get_by_test_id("approve").click()
        await expect(card).to_have_count(0, timeout=SOON)
        said = f"deployed/{number} {asked['sha'][:7]}"
        await expect(coder.get_by_test_id("deployed")).to_contain_text(said)
        await asyncio.to_thread(hive.until, "coder is back", lambda: idle(hive, "coder"))
        look = bash("command -v tree || echo no tree")
        assert "/usr/bin/tree" in await asyncio.to_thread(says, hive, "coder", look)

        await coder.get_by_test_id("deployed").click()
        old = page.get_by_test_id("commit").filter(has_text="deployed/0")
        await old.get_by_test_id("show-diff").click()
        await expect(old.locator(".removed .code-text").last).to_have_text("echo ⟦U+202E⟧ hidden")
        await old.get_by_test_id("rollback").click()
        await page.keyboard.type("no tree after all")
        await old.get_by_test_id("rollback-confirm").click()
        await page.get_by_test_id("toast").wait_for()
        await page.get_by_test_id("home").click()
        back = page.locator(".card.pending")
        await expect(back).to_contain_text("no tree after all")
        await expect(back.get_by_test_id("approve")).to_have_attribute(
            "aria-disabled", "false", timeout=SOON
        )
        await back.get_by_test_id("approve").click()
        await expect(back).to_have_count(0)
        await asyncio.to_thread(ends, hive, number + 1, "deployed")
        await expect(coder.get_by_test_id("deployed")).to_contain_text(f"deployed/{number + 1}")
        await asyncio.to_thread(hive.until, "coder is back", lambda: idle(hive, "coder"))
        assert "no tree" in await asyncio.to_thread(says, hive, "coder", look)
        assert complaints == []
        await context.close()

    chromium.runner.run(story())
