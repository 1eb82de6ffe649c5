"""What the verbs about configurations do: one function each, on the services.

The first line of each docstring is what `hive` and the reference say of the verb.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

from hyperhive import ports
from hyperhive.domain import access, approvals, errors
from hyperhive.edges import action_params, configuration_parts
from hyperhive.edges import configuration_params as params
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.wire import views


async def card(deps: Deps, _: access.Caller, given: params.Card) -> Json:
    """Everything to know before deciding: effects, reasons, build, and every changed byte."""
    return await _parts(deps).cards.card(given.id, given.base)


async def build_log(deps: Deps, _: access.Caller, given: params.BuildLog) -> AsyncIterator[Json]:
    """What the build of a proposal printed, until it has ended."""
    logs = _parts(deps).build_logs
    async for lines, ended in logs.read(given.id, lines=given.lines, follow=given.follow):
        yield {"lines": lines, "ended": ended}


async def cancel_build(deps: Deps, caller: access.Caller, given: action_params.OneApproval) -> Json:
    """End the build of a proposal, which has failed then."""
    return await _row(deps, await _parts(deps).proposing.cancel_build(caller, given.id))


async def history(deps: Deps, _: access.Caller, given: params.History) -> Json:
    """An agent's configurations and who decided on them, when and from where."""
    return await _parts(deps).repositories.history(given.agent)


async def repositories(deps: Deps, _: access.Caller, __: action_params.Nothing) -> Json:
    """Every configuration repository with what is deployed, and how the forge stands."""
    return await _parts(deps).repositories.list()


async def config_files(deps: Deps, _: access.Caller, given: params.ConfigFiles) -> Json:
    """The files of an agent's configuration."""
    return await _parts(deps).repositories.files(given.agent, given.revision)


async def config_file(deps: Deps, _: access.Caller, given: params.ConfigFile) -> Json:
    """One file of an agent's configuration, every byte of it visible."""
    return await _parts(deps).repositories.file(given.agent, given.path, given.revision)


async def compare(deps: Deps, _: access.Caller, given: params.Compare) -> Json:
    """What changes from one of an agent's configurations to another."""
    return await _parts(deps).repositories.compare(given.agent, given.before, given.after)


async def meta_log(deps: Deps, _: access.Caller, __: action_params.Nothing) -> Json:
    """Every successful deploy, newest first."""
    return await _parts(deps).repositories.meta_log()


async def rollback(deps: Deps, caller: access.Caller, given: params.Rollback) -> Json:
    """Propose what an agent ran before; it is built and decided on like any proposal."""
    proposing = _parts(deps).proposing
    return await _row(
        deps, await proposing.rollback(caller, given.agent, given.tag, given.description)
    )


async def rebuild(deps: Deps, caller: access.Caller, given: action_params.OneAgent) -> Json:
    """Build an agent's configuration on the present inputs and restart it."""
    return await _row(deps, await _parts(deps).proposing.rebuild(caller, given.name))


async def inputs(deps: Deps, caller: access.Caller, _: action_params.Nothing) -> Json:
    """What configurations are built from."""
    found = await _parts(deps).proposing.list_inputs(caller)
    return {"inputs": [dataclasses.asdict(each) for each in found]}


async def update_inputs(deps: Deps, caller: access.Caller, given: params.UpdateInputs) -> Json:
    """Take newer versions of inputs and rebuild what depends on them."""
    return await _row(deps, await _parts(deps).proposing.update_inputs(caller, given.names))


def _parts(deps: Deps) -> configuration_parts.Parts:
    if deps.configuration is None:
        raise errors.unavailable("cannot do this: this hive keeps no configurations")
    return deps.configuration


async def _row(deps: Deps, approval: approvals.Approval) -> Json:
    def look(tx: ports.ReadTx) -> Json:
        return views.approval_view(approval, tx.get_proposal(approval.id))

    return await deps.store.read(look)
