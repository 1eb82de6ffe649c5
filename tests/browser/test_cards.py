"""Proposals on the page: what they do, every byte, the build as it runs, and the decision."""

# The texts are look-alikes on purpose.
# ruff: noqa: RUF001

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from playwright.async_api import expect

from hyperhive.domain import approvals, ids, proposals
from hyperhive.domain.proposals import BuildState
from rigs import config_world

pytestmark = pytest.mark.browser

SEED = b'schema = 1\nmodel = "haiku"\n'
WANTED = b'schema = 1\nmodel = "opus"\n\n[packages]\napt = ["curl"]\n'
EFFECTS = {
    "changes": [
        {"topic": "packages", "change": "added", "name": "apt curl", "before": None,
         "after": "any version", "weight": "risk"},
        {"topic": "model", "change": "changed", "name": "model", "before": "haiku",
         "after": "opus", "weight": "notice"},
    ],
    "risks": 1,
}  # fmt: skip


@dataclasses.dataclass
class Scene:
    """An agent with a deployed configuration, and what is proposed for it."""

    visit: Any
    agent: Any
    base: str

    async def propose(self, files: dict[str, bytes], **more: Any) -> approvals.Approval:
        put = self.visit.hive.world.shelf.put
        sha = more.pop("sha", None)
        sha = put(files, "Use opus, add curl") if sha is None else sha
        given = {"base": self.base, "effects": EFFECTS, "description": "It needs curl.", **more}
        return await config_world.propose(
            self.visit.hive.store, self.agent.id, "coder", sha, **given
        )


async def scene(visit: Any) -> Scene:
    agent = await visit.hive.agent("coder")
    shelf = visit.hive.world.shelf
    base = shelf.put({"agent.toml": SEED, "run.sh": b"#!/bin/sh\nmake\n"}, "seed")
    shelf.tag("deployed/0", base)
    await config_world.deploy(visit.hive.store, agent.id, base)
    return Scene(visit, agent, base)


def test_a_build_runs_under_the_eyes_of_the_operator_and_is_approved_as_shown(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        asked = await set_up.propose(
            {"agent.toml": WANTED}, build=BuildState.IMPORTING, sha="", effects={}
        )
        card = page.get_by_test_id(f"approval-{asked.id}")
        state = card.get_by_test_id("build-state")
        await expect(state).to_contain_text("importing the commit")
        await expect(card.get_by_test_id("approve")).to_have_attribute("aria-disabled", "true")
        shelf = hive.world.shelf
        sha = shelf.put({"agent.toml": WANTED, "run.sh": b"#!/bin/sh\nmake\n"}, "Use opus")
        await config_world.move(hive.store, asked.id, sha=sha, build=BuildState.QUEUED)
        await expect(state).to_contain_text("waits to be built")
        hive.world.log(asked.id, "Get:1 \x1b[32mcurl\x1b[0m <img src=x onerror=alert(1)>\n")
        await config_world.move(hive.store, asked.id, build=BuildState.BUILDING)
        await card.get_by_test_id("build-log").locator("summary").click()
        log = card.get_by_test_id("build-log-lines")
        await expect(log).to_have_text("Get:1 curl <img src=x onerror=alert(1)>")
        hive.world.log(asked.id, "Unpacking curl\nSetting up cu")
        await expect(log).to_contain_text("Unpacking curl")
        hive.world.log(asked.id, "rl\n")
        await expect(log).to_contain_text("Setting up curl")
        await expect(card.get_by_test_id("decide-hint")).to_contain_text("once it is built")
        await config_world.move(
            hive.store, asked.id, build=BuildState.BUILT, generation="ab" * 8,
            effects=EFFECTS | {"warnings": ["hive: left out"]},
            configuration={"secrets": {"TOKEN": "away"}},
        )  # fmt: skip
        await expect(state).to_have_attribute("data-state", "built")
        await expect(log).to_have_attribute("data-ended", "true")
        effects = card.get_by_test_id("effect")
        await expect(effects.first).to_contain_text("package apt curl")
        await expect(effects.first).to_contain_text("more power")
        await expect(effects.nth(1)).to_contain_text("haiku → opus")
        await expect(card.get_by_test_id("effect-warning")).to_have_text("hive: left out")
        await expect(card.get_by_test_id("missing-secret")).to_contain_text("away")
        await expect(card.get_by_test_id("reason")).to_have_text("It needs curl.")
        rows = card.locator(".code-row")
        assert [await row.get_attribute("class") for row in await rows.all()] == [
            "code-row ", "code-row removed", "code-row added", "code-row added",
            "code-row added", "code-row added",
        ]  # fmt: skip
        await expect(rows.nth(2).locator(".word")).to_have_text("opus")
        await expect(card.get_by_test_id("decide-hint")).to_have_count(0)
        await card.get_by_test_id("approve").click()
        await expect(card).to_contain_text("deploying")
        assert hive.verbs.calls[-1] == (
            "approve", {"id": asked.id, "digest": asked.digest, "acknowledged": []},
        )  # fmt: skip
        await config_world.move(hive.store, asked.id, step=proposals.DeployStep.CHECKING)
        await expect(card.get_by_test_id("step")).to_have_text("waiting for it to answer")

    tell(story)


def test_what_cannot_be_taken_as_read_is_acknowledged_file_by_file(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        evil = "#!/bin/sh\nmake\nexec\u200b pаypal\u202e\r\n".encode() + b"\0<b>&amp;\n"
        asked = await set_up.propose(
            {"agent.toml": SEED, "run.sh": evil, "logo.png": bytes(range(256)) * 4,
             "big.txt": b"line\n" * 50_000, "fine.txt": b"\tfine \n"}
        )  # fmt: skip
        card = page.get_by_test_id(f"approval-{asked.id}")
        script = card.locator("[data-testid=file][data-path='run.sh']")
        await expect(script.locator(".escape")).to_have_text(
            ["⟦U+200B⟧", "⟦U+0430⟧", "⟦U+202E⟧", "⟦CR⟧", "⟦NUL⟧"]
        )
        await expect(script.locator(".code-text").last).to_have_text("⟦NUL⟧<b>&amp;")
        marks = [
            await m.get_attribute("data-mark") for m in await script.get_by_test_id("mark").all()
        ]
        assert marks == ["carriage_return", "control", "direction", "invisible", "look_alike"]
        unread = card.locator("[data-testid=file][data-path='big.txt'] [data-testid=unread]")
        await expect(unread).to_contain_text("250000 bytes")
        await expect(card.locator("[data-path='logo.png'] [data-testid=unread]")).to_contain_text(
            "00 01 02 03"
        )
        await expect(card.locator("[data-path='fine.txt'] .trailing")).to_have_count(1)
        approve = card.get_by_test_id("approve")
        await expect(approve).to_have_attribute("aria-disabled", "true")
        await approve.dispatch_event("click")
        boxes = card.get_by_test_id("acknowledge-file")
        assert [await box.get_attribute("data-path") for box in await boxes.all()] == [
            "big.txt", "logo.png", "run.sh",
        ]  # fmt: skip
        await boxes.nth(0).check()
        await boxes.nth(1).check()
        await expect(card.get_by_test_id("decide-hint")).to_have_text("acknowledge one file first")
        assert hive.verbs.calls == []
        await boxes.nth(2).focus()
        await page.keyboard.press("Space")
        await expect(approve).to_have_attribute("aria-disabled", "false")
        await approve.click()
        await expect(card).to_contain_text("deploying")
        assert hive.verbs.calls[-1][1]["acknowledged"] == ["big.txt", "logo.png", "run.sh"]

    tell(story)


def test_three_bases_and_a_deploy_in_between_ask_for_a_second_look(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        older = await set_up.propose({"agent.toml": SEED + b"# older\n"})
        await config_world.settle(hive.store, older.id, approvals.ApprovalState.DENIED)
        asked = await set_up.propose({"agent.toml": WANTED})
        card = page.get_by_test_id(f"approval-{asked.id}")
        await expect(card.locator(".removed .code-text").first).to_have_text('model = "haiku"')
        await card.get_by_test_id("base-previous").click()
        await expect(card.locator(".removed .code-text").last).to_have_text("# older")
        await card.get_by_test_id("base-deployed").click()
        newer = hive.world.shelf.put({"agent.toml": b'schema = 1\nmodel = "sonnet"\n'}, "newer")
        await config_world.deploy(hive.store, set_up.agent.id, newer, approval=9)
        await config_world.rebase(hive.store, asked.id, newer)
        await expect(card.get_by_test_id("moved")).to_contain_text("What coder runs has changed")
        await expect(card.locator(".removed .code-text").first).to_have_text('model = "sonnet"')
        approve = card.get_by_test_id("approve")
        await expect(approve).to_have_attribute("aria-disabled", "true")
        await card.get_by_test_id("moved").get_by_role("button").click()
        await approve.click()
        await expect(card).to_contain_text("deploying")
        row = await hive.store.read(lambda tx: tx.get_approval(asked.id))
        assert hive.verbs.calls[-1][1]["digest"] == row.digest != asked.digest

    tell(story)


def test_deny_with_a_note_withdraw_and_cancel_a_build(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        first = await set_up.propose({"agent.toml": WANTED})
        second = await set_up.propose({"agent.toml": WANTED + b"# two\n"})
        third = await set_up.propose({"agent.toml": WANTED + b"#\n"}, build=BuildState.BUILDING)
        card = page.get_by_test_id(f"approval-{first.id}")
        await card.get_by_test_id("deny").click()
        await page.keyboard.type("not on a Friday")
        await config_world.move(hive.store, first.id, build_note="")
        await expect(card.get_by_test_id("deny-note")).to_have_value("not on a Friday")
        await card.get_by_test_id("deny-confirm").click()
        await page.get_by_test_id(f"approval-{second.id}").get_by_test_id("withdraw").click()
        await page.get_by_test_id(f"approval-{third.id}").get_by_test_id("cancel-build").click()
        await page.get_by_test_id("confirm-yes").click()
        await expect(page.get_by_test_id("approvals")).to_contain_text("Nothing waits")
        assert [name for name, _ in hive.verbs.calls] == ["deny", "withdraw", "cancel-build"]
        assert hive.verbs.calls[0][1]["note"] == "not on a Friday"
        await page.get_by_test_id("approvals-history").click()
        row = page.get_by_test_id(f"approval-{first.id}")
        await expect(row).to_contain_text("denied")
        await expect(row).to_contain_text("by operator on the page")
        await row.get_by_test_id("past-card").locator("summary").first.click()
        await expect(row.locator(".added .code-text").first).to_have_text('model = "opus"')
        await expect(page.get_by_test_id(f"approval-{third.id}")).to_contain_text("failed")

    tell(story)


def test_a_failed_build_shows_its_reason_and_its_log(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        asked = await set_up.propose({"agent.toml": WANTED}, build=BuildState.BUILDING)
        hive.world.log(asked.id, "E: Unable to locate package crul\n")
        await config_world.move(
            hive.store, asked.id, build=BuildState.FAILED, build_note="apt: no package crul"
        )
        note = "its build failed: apt: no package crul"
        await config_world.settle(hive.store, asked.id, approvals.ApprovalState.FAILED, note)
        await page.get_by_test_id("approvals-history").click()
        row = page.get_by_test_id(f"approval-{asked.id}")
        await expect(row).to_contain_text(note)
        await row.get_by_test_id("past-card").locator("summary").first.click()
        await expect(row.get_by_test_id("build-note")).to_have_text("apt: no package crul")
        await row.get_by_test_id("build-log").locator("summary").click()
        await expect(row.get_by_test_id("build-log-lines")).to_have_text(
            "E: Unable to locate package crul"
        )

    tell(story)


def test_an_agents_row_says_what_it_runs(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        row = page.get_by_test_id("agent-coder")
        await expect(row.get_by_test_id("deployed")).to_contain_text(
            f"deployed/0 {set_up.base[:7]}"
        )
        await row.get_by_test_id("configuration").locator("summary").first.click()
        file = row.locator("[data-testid=config-file][data-path='agent.toml']")
        await file.locator("summary").click()
        await expect(file.locator(".code-text").last).to_have_text('model = "haiku"')
        asked = await set_up.propose(
            {"agent.toml": WANTED}, state=approvals.ApprovalState.BUILDING,
            step=proposals.DeployStep.CHECKING,
        )  # fmt: skip
        await config_world.deploy(hive.store, set_up.agent.id, set_up.base, trial=asked.id)
        await expect(row.get_by_test_id("deploy-work")).to_have_text("deploying, on trial")
        await row.get_by_test_id("rebuild").click()
        assert hive.verbs.calls[-1] == ("rebuild", {"name": "coder"})
        await visit.open("/agents/coder")
        await expect(page.get_by_test_id("deployed")).to_contain_text(
            f"deployed/0 {set_up.base[:7]}"
        )

    tell(story)


def test_a_card_is_decided_on_a_phone(tell) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        set_up = await scene(visit)
        long = b"x" * 3000 + b"\n"
        asked = await set_up.propose({"agent.toml": WANTED, "a/" + "deep/" * 20 + "f.txt": long})
        card = page.get_by_test_id(f"approval-{asked.id}")
        await card.locator(".code-row").first.wait_for()
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        await card.get_by_test_id("acknowledge-file").check()
        approve = card.get_by_test_id("approve")
        box = await approve.bounding_box()
        assert box is not None and box["height"] >= 40
        await approve.tap()
        await expect(card).to_contain_text("deploying")
        assert hive.verbs.calls[-1][0] == "approve"
        assert ids.ApprovalId(hive.verbs.calls[-1][1]["id"]) == asked.id

    tell(story, size={"width": 390, "height": 844}, touch=True)
