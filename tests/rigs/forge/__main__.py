"""``PYTHONPATH=tests python -m rigs.forge DIRECTORY``: a forge with one account and its token.

Prints ``{"url", "token"}`` and serves until it is ended; for looking at things by hand.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import sys

from rigs.forge.server import Forge


async def main() -> None:
    async with Forge.running(pathlib.Path(sys.argv[1])) as forge:
        forge.world.add_account("hive")
        token = forge.world.add_token("hive", "write:organization", "write:repository", "read:user")
        print(json.dumps({"url": forge.url, "token": token}), flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
