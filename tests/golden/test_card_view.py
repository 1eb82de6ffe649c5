"""The card as JSON, as scripts and pages read it: members may be added, none may change.

To accept a change: HIVE_GOLDEN=write .venv/bin/pytest tests/golden/test_card_view.py
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import ids
from hyperhive.services import card
from rigs import config_world

GOLDEN = pathlib.Path(__file__).with_name("card.json")
BEFORE = {"agent.toml": b"schema = 1\n", "run.sh": b"#!/bin/sh\nmake\n", "old.txt": b"old"}
AFTER = {
    "agent.toml": b'schema = 1\nmodel = "opus"\n',
    "run.sh": "#!/bin/sh\nmake\u200b \u202eall\r\n\0".encode(),
    "logo.png": bytes(range(256)),
    "large.txt": b"line\n" * 50_000,
}


def test_the_card_is_what_it_was() -> None:
    async def main() -> None:
        store, shelf = MemoryStore(ManualClock()), config_world.Shelf()
        base, sha = shelf.put(BEFORE, "seed"), shelf.put(AFTER, "Use opus \x1b[31m")
        shelf.executable.add("run.sh")
        effects = {"changes": [], "risks": 0}
        asked = await config_world.propose(
            store, ids.AgentId("0" * 12), "coder", sha, base=base, effects=effects
        )
        cards = card.Cards(store, shelf)  # type: ignore[arg-type]
        made = json.dumps(await cards.card(asked.id), indent=1, ensure_ascii=True) + "\n"
        if os.environ.get("HIVE_GOLDEN") == "write":
            GOLDEN.write_text(made)
        assert made == GOLDEN.read_text()

    asyncio.run(main())
