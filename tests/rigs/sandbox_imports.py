"""Imports from hostile repositories and of hostile packs, told as any user of the host."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import one_shot
from rigs import hostile_packs, hostile_repositories, import_bench, sandbox_bench


def _place(bench: sandbox_bench.RealBench) -> import_bench.ImportBench:
    one_shots = one_shot.BubblewrapOneShots(
        host.HostProcesses(), scratch=bench.top / "scratch", uid_base=640_000
    )
    return import_bench.ImportBench(bench.top, one_shots)


async def repositories(bench: sandbox_bench.RealBench) -> None:
    """Every eighth: the rest is the same for any user."""
    world, place = hostile_repositories.World(bench), _place(bench)
    await world.start()
    for made in hostile_repositories.CASES[::8]:
        # As one user with the victim, what leads there is open, as docs/security.md says.
        if not made.accepted and bench.top.stat().st_uid != 0 and "link" in made.name:
            continue
        await world.bring(place, made)
        place.reset()


async def packs(bench: sandbox_bench.RealBench) -> None:
    place = _place(bench)
    for made in hostile_packs.CASES[::8]:
        sent = made.build()
        outcome = await place.bring(lambda _, sent=sent: sent.stream(), sent.sha, made.limits)
        assert place.left() == []
        if made.refused is None:
            assert outcome.commit is not None, outcome.text
        else:
            assert re.search(made.refused, outcome.text), (made.name, outcome.text)
            assert (place.refs(), place.objects()) == ({}, set())
        place.reset()


STORIES: dict[str, Callable[[sandbox_bench.RealBench], Awaitable[None]]] = {
    "repositories": repositories,
    "packs": packs,
}
