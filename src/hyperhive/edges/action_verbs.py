"""What each verb of the operator does: one function each, on the services.

The first line of each docstring is what `hive` and the reference say of the verb.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from hyperhive import ports
from hyperhive.domain import access, agents, approvals, errors, ids, messages
from hyperhive.edges import action_params as params
from hyperhive.edges import configuration_parts, live_view
from hyperhive.services import (
    asking,
    fleet,
    lookup,
    messaging,
    mirroring,
    model_source,
    named_secrets,
    overview,
    review,
    scraping,
    statistics,
    turns,
    waits,
)
from hyperhive.wire import views

Json = dict[str, Any]


class Shutdown(Protocol):
    """Tells the daemon to end."""

    def __call__(self, *, agents: bool) -> None:
        """End soon; with *agents*, end their sandboxes too."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What the verbs act on; the daemon builds it."""

    store: ports.Store
    messaging: messaging.Messaging
    turns: turns.Turns
    fleet: fleet.Fleet
    review: review.Review
    asking: asking.Asking
    overview: overview.Overview
    model_source: model_source.ModelSource
    sandbox: ports.Sandbox
    live_log: ports.LiveLog
    log_file: Callable[[ids.AgentId], pathlib.Path]
    sign_in_link: Callable[[], str]
    shutdown: Shutdown
    version: str
    secrets: named_secrets.NamedSecrets
    statistics: statistics.Statistics
    scraping: scraping.Scraping
    waits: waits.Waits | None = None
    """None: a hive without budgets."""
    configuration: configuration_parts.Parts | None = None
    """None: a hive whose agents have no configuration in git."""
    forge: mirroring.Mirroring | None = None
    """None: a hive whose agents have no configuration in git."""


# --- the whole hive ---------------------------------------------------------------------


async def status(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """How the hive stands: model, agents, what waits.

    Counts instead of rows of mail: the answer stays small however much there is.
    """
    model = await deps.model_source.status()

    def look(tx: ports.ReadTx) -> Json:
        waiting = tx.list_approvals(states=[approvals.ApprovalState.PENDING], limit=1000)
        return {
            "number": tx.last_number(),
            "version": deps.version,
            "model": model,
            "pending": len(waiting),
            "questions": sum(row.asked == ids.OPERATOR for row in tx.list_open_questions()),
            "inbox": tx.count_queued(ids.OPERATOR),
            "agents": deps.overview.agent_rows(tx),
        }

    return await deps.store.read(look)


async def list_agents(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """The agents, the manager first."""
    return {"agents": await deps.store.read(deps.overview.agent_rows)}


async def subscribe(deps: Deps, _: access.Caller, given: params.Subscribe) -> AsyncIterator[Json]:
    """Facts after a number with the rows that they name, as they happen."""
    number = given.after
    while True:
        update = await deps.overview.updates_after(number)
        if update is None:
            await deps.overview.wait(number)
            continue
        number = update["number"]
        yield update


async def doctor(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """What this host can and cannot do for sandboxes and builds, and how the forge is."""
    found = await deps.sandbox.probe()
    if deps.configuration is not None:
        for probe in deps.configuration.probes:
            found = [*found, *await probe()]
    if deps.forge is not None:
        found = [*found, *await deps.forge.findings()]
    return {
        "findings": [
            {**dataclasses.asdict(finding), "severity": finding.severity.value} for finding in found
        ]
    }


async def version(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """The version of the daemon."""
    return {"version": deps.version}


async def shutdown(deps: Deps, _: access.Caller, given: params.Shutdown) -> Json:
    """End the daemon."""
    deps.shutdown(agents=given.agents)
    return {"agents": given.agents}


async def sign_in_link(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """A new one-time link to the page."""
    return {"sign_in": deps.sign_in_link()}


async def set_model_source(deps: Deps, caller: access.Caller, given: params.ModelSource) -> Json:
    """Set where the model comes from."""
    return await deps.model_source.set(caller, given.kind, given.secret)


async def model_status(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """Where the model comes from, without the secret."""
    return await deps.model_source.status()


# --- mail -------------------------------------------------------------------------------


async def send(deps: Deps, caller: access.Caller, given: params.Send) -> Json:
    """Send a message to an agent, or to all of them."""
    if given.to == messages.EVERYBODY:
        if given.in_reply_to is not None:
            raise errors.invalid('cannot send a reply to "*": name the one who gets it')
        posted = await deps.messaging.broadcast(caller, given.body, key=given.key)
        return {"messages": [views.message_view(each) for each in posted]}
    sent = await deps.messaging.send(
        caller, given.to, given.body, in_reply_to=given.in_reply_to, key=given.key
    )
    return views.message_view(sent)


async def set_recipients(deps: Deps, caller: access.Caller, given: params.Recipients) -> Json:
    """Let an agent write to some agents only, or to all; manager and operator always."""
    agent = await deps.messaging.set_recipients(caller, given.name, given.only)
    return await _agent(deps, agent)


async def inbox(deps: Deps, _: access.Caller, given: params.Inbox) -> Json:
    """Mail to the operator, newest first."""
    states = None if given.all else [messages.MessageState.QUEUED]
    before = None if given.before is None else ids.MessageId(given.before)
    rows = await deps.store.read(
        lambda tx: tx.list_messages(
            recipient=ids.OPERATOR, states=states, before=before, limit=given.limit
        )
    )
    return {"messages": [views.message_view(row) for row in rows]}


async def list_messages(deps: Deps, _: access.Caller, given: params.Messages) -> Json:
    """Mail between all parties, newest first."""
    rows = await deps.overview.messages(agent=given.agent, limit=given.limit, before=given.before)
    return {"messages": rows}


async def handled(deps: Deps, caller: access.Caller, given: params.OneMessage) -> Json:
    """Mark mail to the operator as handled."""
    return views.message_view(await deps.messaging.handle_for_operator(caller, given.id))


async def requeue(deps: Deps, caller: access.Caller, given: params.OneMessage) -> Json:
    """Deliver a dead message again."""
    return views.message_view(await deps.messaging.requeue(caller, given.id))


# --- approvals --------------------------------------------------------------------------


async def pending(deps: Deps, _: access.Caller, __: params.Nothing) -> Json:
    """Approvals that wait for a decision."""
    states = [approvals.ApprovalState.PENDING]
    return {"approvals": await deps.store.read(lambda tx: _approvals(tx, states, 1000))}


async def list_approvals(deps: Deps, _: access.Caller, given: params.Approvals) -> Json:
    """All approvals, newest first."""
    return {"approvals": await deps.store.read(lambda tx: _approvals(tx, None, given.limit))}


async def approve(deps: Deps, caller: access.Caller, given: params.Approve) -> Json:
    """Approve exactly what was shown, by its digest."""
    if deps.configuration is not None:
        cards = deps.configuration.cards
        await cards.require_read(given.id, given.digest, given.acknowledged)
    return await _approval(deps, await deps.review.approve(caller, given.id, given.digest))


async def deny(deps: Deps, caller: access.Caller, given: params.Deny) -> Json:
    """Deny an approval, with a note for who asked."""
    return await _approval(deps, await deps.review.deny(caller, given.id, given.note))


async def withdraw(deps: Deps, caller: access.Caller, given: params.OneApproval) -> Json:
    """Take a request back."""
    return await _approval(deps, await deps.review.withdraw(caller, given.id))


async def request_spawn(deps: Deps, caller: access.Caller, given: params.Spawn) -> Json:
    """Request a new agent, to be decided later."""
    asked = await deps.review.request_spawn(caller, given.name, given.description)
    return views.approval_view(asked)


async def spawn(deps: Deps, caller: access.Caller, given: params.Spawn) -> Json:
    """Request a new agent and approve it in one step."""
    return views.approval_view(await deps.review.spawn(caller, given.name, given.description))


# --- agents -----------------------------------------------------------------------------


async def start(deps: Deps, caller: access.Caller, given: params.Order) -> Json:
    """Start an agent; a halted one gets a fresh count."""
    return await _agent(deps, await deps.fleet.start(caller, given.name, given.reason))


async def stop(deps: Deps, caller: access.Caller, given: params.Order) -> Json:
    """Stop an agent; it gets time to end."""
    return await _agent(deps, await deps.fleet.stop(caller, given.name, given.reason))


async def restart(deps: Deps, caller: access.Caller, given: params.Order) -> Json:
    """Stop an agent and start it again."""
    return await _agent(deps, await deps.fleet.restart(caller, given.name, given.reason))


async def kill(deps: Deps, caller: access.Caller, given: params.Order) -> Json:
    """End all processes of an agent at once."""
    return await _agent(deps, await deps.fleet.kill(caller, given.name, given.reason))


async def interrupt(deps: Deps, caller: access.Caller, given: params.OneAgent) -> Json:
    """Cancel the turn that an agent is in."""
    return await _agent(deps, await deps.turns.control.interrupt(caller, given.name))


async def retry(deps: Deps, caller: access.Caller, given: params.OneAgent) -> Json:
    """End an agent's pause after a failed turn: it tries again now."""
    return await _agent(deps, await deps.turns.control.retry(caller, given.name))


async def list_turns(deps: Deps, _: access.Caller, given: params.Turns) -> Json:
    """An agent's turns with what they used, newest first."""
    rows = await deps.store.read(
        lambda tx: tx.list_turns(lookup.require_named(tx, given.name).id, given.limit)
    )
    return {"turns": [views.turn_view(row) for row in rows]}


async def logs(deps: Deps, _: access.Caller, given: params.Logs) -> AsyncIterator[Json]:
    """What an agent's harness wrote to its log."""
    agent = await _named(deps, given.name)
    path = deps.log_file(agent)
    async for line in deps.sandbox.follow_log(path, lines=given.lines, follow=given.follow):
        yield {"line": line}


async def watch(deps: Deps, _: access.Caller, given: params.Watch) -> AsyncIterator[Json]:
    """An agent's live terminal: what it thinks and does."""
    agent = await _named(deps, given.name)
    log = deps.live_log
    after = given.after
    # Read before the first wait: the number that was seen decides what counts as new.
    seen = log.number(agent) if after is None else after
    if given.lines:
        for event in await log.read(agent, after=after or 0, limit=given.lines):
            seen = max(seen, event.number)
            yield live_view.live_event_view(event)
    while given.follow:
        await log.changed(agent, seen)
        for event in await log.read(agent, after=seen):
            seen = event.number
            yield live_view.live_event_view(event)


# --- parts ------------------------------------------------------------------------------


def _approvals(
    tx: ports.ReadTx, states: list[approvals.ApprovalState] | None, limit: int
) -> list[Json]:
    rows = tx.list_approvals(states=states, limit=limit)
    return [views.approval_view(row, tx.get_proposal(row.id)) for row in rows]


async def _approval(deps: Deps, approval: approvals.Approval) -> Json:
    return await deps.store.read(
        lambda tx: views.approval_view(approval, tx.get_proposal(approval.id))
    )


async def _agent(deps: Deps, agent: agents.Agent) -> Json:
    return await deps.store.read(lambda tx: deps.overview.agent_row(tx, agent))


async def _named(deps: Deps, name: str) -> ids.AgentId:
    return await deps.store.read(lambda tx: lookup.require_named(tx, name).id)
