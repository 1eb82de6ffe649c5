"""Verbs about an agent's turns: its model, its session, and whether it begins any.

Each answers with the agent's row and with ``says``: in one sentence, when it takes effect.
"""

from __future__ import annotations

from hyperhive import ports
from hyperhive.domain import access, agents
from hyperhive.edges import action_params, turn_params
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.services import running, turn_control


async def set_model(deps: Deps, caller: access.Caller, given: turn_params.SetModel) -> Json:
    """Set the model of an agent, from its next turn on."""
    agent = await deps.turns.control.set_model(caller, given.name, given.model)
    back = given.model == turn_control.DEFAULT_MODEL
    chosen = "what its configuration says, or the hive" if back else given.model
    return await _answer(deps, agent, f"the model is {chosen}, from the next turn on")


async def compact(deps: Deps, caller: access.Caller, given: action_params.OneAgent) -> Json:
    """Make an agent's session shorter, after the turn that it is in."""
    agent = await deps.turns.control.compact(caller, given.name)
    return await _answer(
        deps, agent, "compacts its session next", "compacts its session after this turn"
    )


async def new_session(deps: Deps, caller: access.Caller, given: action_params.OneAgent) -> Json:
    """Let the next turn of an agent begin a new session."""
    agent = await deps.turns.control.new_session(caller, given.name)
    return await _answer(deps, agent, "the next turn begins a new session")


async def pause(deps: Deps, caller: access.Caller, given: turn_params.Pause) -> Json:
    """Let an agent begin no more turns; its mail stays queued."""
    agent = await deps.turns.control.pause(caller, given.name, given.reason)
    return await _answer(
        deps,
        agent,
        "is paused: it begins no turn, and its mail stays queued",
        "begins no turn after this one, and its mail stays queued",
    )


async def resume(deps: Deps, caller: access.Caller, given: action_params.OneAgent) -> Json:
    """Let a paused agent begin turns again."""
    agent = await deps.turns.control.resume(caller, given.name)
    return await _answer(deps, agent, "begins turns again")


async def _answer(deps: Deps, agent: agents.Agent, says: str, in_turn: str = "") -> Json:
    """*in_turn* is said instead while a turn runs."""

    def look(tx: ports.ReadTx) -> Json:
        said = in_turn if in_turn and running.find(tx, agent.id) is not None else says
        return deps.overview.agent_row(tx, agent) | {"says": said}

    return await deps.store.read(look)
