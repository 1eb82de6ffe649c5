"""A picture of the hive stays small, however large its mail is."""

from __future__ import annotations

import asyncio

from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import messages
from hyperhive.services import model_source, overview


async def _no_demo() -> str:
    raise AssertionError("nobody asked for the demo")


def test_large_mail_is_left_to_paging_and_the_newest_is_always_shown(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("bob")
        body = "x" * messages.BODY_MAX
        for n in range(40):
            await desk.mail.send(desk.olga, "bob", f"{n} {body[:-4]}")
        source = model_source.ModelSource(desk.store, MemorySecrets(), "https://m.test", _no_demo)
        shown = overview.Overview(
            desk.store,
            source,
            hive="h",
            version="1",
            model="m",
            refused=desk.refused,
        )
        picture = await shown.snapshot()
        size = sum(len(m["body"]) for m in picture["messages"])
        assert size <= overview.BODIES_SHOWN
        assert picture["messages"][0]["body"].startswith("39 ")
        assert 10 < len(picture["messages"]) < 40
        older = await shown.messages(agent=None, limit=100, before=picture["messages"][-1]["id"])
        assert len(older) + len(picture["messages"]) == 40

    asyncio.run(story())
