"""Verbs about what waits and about budgets: what they take and what they do."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hyperhive.domain import access, errors
from hyperhive.edges import action_params
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.edges.params import Name, Params
from hyperhive.services import budgets, waits


class SetBudget(Params):
    """Of ``set-budget``."""

    name: Annotated[Name | None, Meta(description="An agent's name; null: the whole hive.")] = None
    usd_per_day: Annotated[
        Annotated[float, Meta(ge=0, le=budgets.USD_MAX)] | None,
        Meta(description="US dollars at list prices; 0: no limit; null: as it is."),
    ] = None
    tokens_per_day: Annotated[
        Annotated[int, Meta(ge=0, le=budgets.TOKENS_MAX)] | None,
        Meta(description="Tokens of all kinds; 0: no limit; null: as it is."),
    ] = None
    clear: Annotated[bool, Meta(description="Let the default of the settings count again.")] = False


async def waiting(deps: Deps, _: access.Caller, __: action_params.Nothing) -> Json:
    """Everything that waits: why, since when, until when, and what lets it go on."""
    return {"waiting": await _waits(deps).listed()}


async def go_on(deps: Deps, caller: access.Caller, given: action_params.OneAgent) -> Json:
    """Let an agent go on, whatever it waits for; a budget allows as much again for today."""
    agent = await _waits(deps).go_on(caller, given.name)
    return await deps.store.read(lambda tx: deps.overview.agent_row(tx, agent))


async def list_budgets(deps: Deps, _: access.Caller, __: action_params.Nothing) -> Json:
    """Every budget of today, with what is spent of it."""
    return await _waits(deps).budgets.view()


async def set_budget(deps: Deps, caller: access.Caller, given: SetBudget) -> Json:
    """Set what an agent, or the whole hive, may spend in a day."""
    limits = (given.usd_per_day, given.tokens_per_day)
    if given.clear is not all(limit is None for limit in limits):
        raise errors.invalid("cannot set that budget: give a limit, or clear it, and not both")
    return await _waits(deps).budgets.set(
        caller, given.name, usd=limits[0], tokens=limits[1], clear=given.clear
    )


def _waits(deps: Deps) -> waits.Waits:
    if deps.waits is None:
        raise errors.unavailable("cannot say what waits: this hive counts nothing")
    return deps.waits
