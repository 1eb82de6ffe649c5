"""The page of configurations: what is where, what differs, the way back, and what it is made of."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from hyperhive.domain import events
from rigs import config_world

pytestmark = pytest.mark.browser

SEED = b'schema = 1\nmodel = "haiku"\n'
NEWER = b'schema = 1\nmodel = "opus"\n'


async def set_up(visit: Any) -> tuple[Any, str, str]:
    agent = await visit.hive.agent("coder")
    shelf = visit.hive.world.shelf
    seed = shelf.put({"agent.toml": SEED}, "Begin the configuration")
    shelf.tag("deployed/0", seed)
    newer = shelf.put({"agent.toml": NEWER, "big.bin": b"\0" * 5000}, "Use opus\n\n<b>now</b>")
    for kind in ("proposal", "approved", "building", "deployed"):
        shelf.tag(f"{kind}/3", newer)
    await config_world.deploy(visit.hive.store, agent.id, newer, approval=3)
    return agent, seed, newer


def test_an_old_tag_is_looked_at_compared_and_proposed_again(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        _, seed, newer = await set_up(visit)
        await page.get_by_test_id("menu").locator("summary").click()
        await page.get_by_test_id("menu-configuration").click()
        await visit.live()
        row = page.get_by_test_id("repository-coder")
        await expect(row).to_contain_text(f"deployed/3{newer[:12]}")
        await row.get_by_role("link", name="coder").click()
        await visit.live()
        assert page.url == f"{visit.url}/configuration/coder"
        commits = page.get_by_test_id("commit")
        await expect(commits).to_have_count(2)
        await expect(commits.first).to_contain_text("<b>now</b>")
        await expect(commits.first).to_contain_text("runs")
        await expect(commits.first.get_by_test_id("rollback")).to_have_count(0)
        old = commits.last
        await old.get_by_test_id("show-files").click()
        file = old.locator("[data-testid=config-file][data-path='agent.toml']")
        await file.locator("summary").click()
        await expect(file.locator(".code-text")).to_have_text(["schema = 1", 'model = "haiku"'])
        await old.get_by_test_id("show-diff").click()
        await expect(old.locator(".added .code-text")).to_have_text('model = "haiku"')
        await expect(old.get_by_test_id("unread")).to_contain_text("5000 bytes")
        await old.get_by_test_id("rollback").click()
        await page.keyboard.type("opus was no better")
        await old.get_by_test_id("rollback-confirm").click()
        await expect(page.get_by_test_id("toast")).to_contain_text("Approval 1 waits")
        given = {"agent": "coder", "tag": "deployed/0", "description": "opus was no better"}
        assert hive.verbs.calls == [("rollback", given)]
        await expect(page.get_by_test_id("decisions")).to_contain_text("roll back coder")
        await page.get_by_test_id("home").click()
        card = page.get_by_test_id("approval-1")
        await expect(card.locator(".added .code-text")).to_have_text('model = "haiku"')
        await card.get_by_test_id("acknowledge-file").check()
        await card.get_by_test_id("approve").click()
        await expect(card).to_contain_text("rolling back")
        row = await hive.store.read(lambda tx: tx.get_approval(1))
        assert hive.verbs.calls[-1][1]["digest"] == row.digest
        assert (await hive.store.read(lambda tx: tx.get_proposal(1))).sha == seed

    tell(story)


def test_the_page_follows_deploys_the_forge_and_inputs(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        agent, seed, _ = await set_up(visit)
        world = hive.world
        world.meta.add("regenerate meta for 1 agents")
        await visit.open("/configuration")
        await expect(page.get_by_test_id("deploy")).to_have_count(1)
        await expect(page.get_by_test_id("forge")).to_contain_text("No forge is set up")
        world.meta.add(f"deploy coder deployed/4 {seed[:12]}")
        await config_world.deploy(hive.store, agent.id, seed, approval=4)
        await expect(page.get_by_test_id("deploy").first).to_contain_text("deployed/4")
        await expect(page.get_by_test_id("repository-coder")).to_contain_text("deployed/4")
        world.mirror |= {
            "configured": True, "url": "https://forge.test", "organisation": "agent-configs",
            "repositories": [
                {"name": "coder", "state": "behind", "lag_refs": 3, "last_ok": None,
                 "behind_since": "2026-11-23T08:00:00Z", "error": "cannot push: 500 <i>"},
                {"name": "meta", "state": "in_step", "lag_refs": 0, "last_ok": None,
                 "behind_since": None, "error": ""},
            ],
        }  # fmt: skip
        kind = events.EventKind.MIRROR_CHANGED
        await hive.store.write(lambda tx: tx.record(events.Event(kind, topics=(events.MIRROR,))))
        await expect(page.get_by_test_id("repository-coder")).to_contain_text(
            "behind, 3 refs behind"
        )
        await expect(page.get_by_test_id("repository-coder")).to_contain_text(
            "cannot push: 500 <i>"
        )
        await expect(page.get_by_test_id("forge")).to_contain_text("forge: in step")
        update = page.get_by_test_id("update-inputs")
        await expect(update).to_have_attribute("aria-disabled", "true")
        box = page.get_by_test_id("input-base").get_by_role("checkbox")
        await box.focus()
        await page.keyboard.press("Space")
        await update.click()
        await expect(page.get_by_test_id("toast")).to_contain_text("the inputs are updated")
        assert hive.verbs.calls == [("update-inputs", {"names": ["base"]})]
        await expect(box).not_to_be_checked()

    tell(story)


def test_stale_agents_are_named_and_rebuilt_at_once(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        agent, _, newer = await set_up(visit)
        hive.world.built_from = "inputs-2"
        await config_world.deploy(hive.store, agent.id, newer, approval=3, generation="ab" * 8)
        await expect(page.get_by_test_id("agent-coder").get_by_test_id("stale")).to_be_visible()
        await visit.open("/configuration")
        await page.get_by_test_id("rebuild-all").click()
        await page.wait_for_function("document.querySelector('[data-testid=rebuild-all]')")
        await expect(page.get_by_test_id("rebuild-all")).to_have_attribute("aria-busy", "false")
        assert hive.verbs.calls == [("rebuild", {"name": "coder"})]

    tell(story)


@pytest.mark.parametrize("path", ["/configuration", "/configuration/coder"])
def test_the_pages_fit_a_phone_and_every_control_has_a_name(tell, path: str) -> None:
    async def story(visit) -> None:
        page = visit.page
        await set_up(visit)
        await visit.open(path)
        await expect(page.locator(".rows > li").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        unnamed = await page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, summary, textarea")]
              .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
              .map((each) => each.outerHTML)"""
        )
        assert unnamed == []
        headings = await page.get_by_role("heading").all_inner_texts()
        assert headings and not any(re.fullmatch(r"\s*", each) for each in headings)

    tell(story, size={"width": 390, "height": 844}, scheme="light")
