"""How the page looks at any width and in either light: nothing sticks out, all can be read."""

from __future__ import annotations

import datetime

import pytest

from hyperhive.domain import agents, messages

pytestmark = pytest.mark.browser

TABLET = {"width": 768, "height": 1024}
PHONE = {"width": 390, "height": 844}
NARROW = {"width": 360, "height": 740}


@pytest.mark.parametrize("size", [NARROW, PHONE, TABLET], ids=["360", "390", "768"])
def test_nothing_sticks_out_of_a_small_screen(tell, size) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        long = "x" * 300
        later = hive.clock.now() + datetime.timedelta(seconds=60)
        await hive.agent("agent-with-a-really-long-name-1", status=long, model="m" * 60)
        await hive.agent("coder", phase=agents.Phase.CRASHED, phase_note=long, retry_at=later)
        await hive.say("coder", "operator", long)
        await hive.review.request_spawn(await hive.caller("manager"), "scout", long)
        bash = {"id": "1", "name": "Bash", "input": {"command": long}}
        await hive.show("coder", "tool_use", bash)
        await hive.show("coder", "tool_result", {"id": "1", "content": long * 4})
        for path in ("/", "/agents/coder"):
            await visit.open(path)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], path
            small = await page.evaluate(
                "[...document.querySelectorAll('button')].filter(b => b.offsetParent)"
                ".filter(b => b.getBoundingClientRect().height < 24).map(b => b.textContent)"
            )
            assert small == [], path

    tell(story, size=size)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_text_has_contrast_enough_to_read(tell, scheme) -> None:
    async def story(visit) -> None:
        page, hive = visit.page, visit.hive
        await hive.agent("coder", phase=agents.Phase.CRASHED, phase_note="oh", crashes=1)
        await hive.say("coder", "operator", "hello")
        sent = await hive.say("manager", "coder", "dead")
        await hive.settle(sent.id, messages.MessageState.DEAD, deliveries=5)
        await hive.review.request_spawn(await hive.caller("manager"), "scout", "why")
        edit = {"file_path": "/a", "old_string": "a", "new_string": "b"}
        await hive.show("coder", "tool_use", {"id": "1", "name": "Edit", "input": edit})
        await hive.show("coder", "tool_result", {"id": "1", "content": "no", "is_error": True})
        await hive.show("coder", "note", {"text": "a note"})
        for path in ("/", "/agents/coder"):
            await visit.open(path)
            await page.wait_for_timeout(0)
            assert await page.evaluate(CONTRAST) == [], path

    tell(story, scheme=scheme)


# WCAG 2.2, 1.4.3: the ratio of relative luminances, each text over the grounds below it.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const mix = (top, below, i) => top[i] * top[3] + below[i] * (1 - top[3]);
  const over = (top, below) => [0, 1, 2].map((i) => mix(top, below, i)).concat(1);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => {
    const [r, g, b] = c.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(".vh, .plain, noscript, [aria-disabled=true]")) continue;
    const grounds = [];
    for (let e = element; e; e = e.parentElement) {
      grounds.push(rgba(getComputedStyle(e).backgroundColor));
    }
    const white = [255, 255, 255, 1];
    const ground = grounds.reverse().reduce((below, top) => over(top, below), white);
    const text = over(rgba(getComputedStyle(element).color), ground);
    const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([node.data.trim().slice(0, 40), Math.round(ratio * 100) / 100]);
  }
  return found;
}"""
