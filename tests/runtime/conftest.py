"""A whole hive on memory twins for tests of the loops."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rigs.hive_tester import HiveTester, hive

Story = Callable[[HiveTester], Awaitable[None]]


@pytest.fixture
def play(tmp_path: pathlib.Path) -> Callable[..., None]:
    """Runs a story on a host whose daemon is up and whose manager runs."""

    def run(story: Story, **options: Any) -> None:
        async def main() -> None:
            # Nothing here polls: a lost wake-up ends here.
            async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
                host = await stack.enter_async_context(hive(tmp_path, **options))
                await host.up()
                await host.until(lambda tx: tx.find_agent("manager"))
                await story(host)

        asyncio.run(main())

    return run
