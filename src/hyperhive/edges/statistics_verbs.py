"""Verbs about what turns come to, and about who may scrape it."""

from __future__ import annotations

from hyperhive.domain import access
from hyperhive.edges import statistics_params as params
from hyperhive.edges.action_verbs import Deps, Json


async def stats(deps: Deps, _: access.Caller, given: params.Stats) -> Json:
    """What turns of the last days used, by agent and model: outcomes, tokens, money, times."""
    return await deps.statistics.view(given.days, given.name)


async def metrics_token(deps: Deps, caller: access.Caller, given: params.MetricsToken) -> Json:
    """Make a new token that may read /metrics and nothing else; the one before ends."""
    if given.revoke:
        await deps.scraping.revoke(caller)
        return {"token": None}
    return {"token": await deps.scraping.renew(caller)}
