"""What is wanted of agents: start, stop, kill, restart; and who is who.

These verbs only write what is wanted. The fleet loop makes it true.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids
from hyperhive.services import lookup, mcp_servers, posting, recipients, spawning

STATUS_MAX = 200
REASON_MAX = 500


class Fleet:
    """Verbs over agents.

    With *once* (`posting.once_key`) a repetition of a call that has been heard changes nothing:
    what others have wanted since stays wanted.
    """

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def start(
        self, caller: access.Caller, name: str, reason: str = "", *, once: str | None = None
    ) -> agents.Agent:
        """Want an agent running; no change when it already is or is about to be."""

        def change(agent: agents.Agent) -> agents.Agent:
            if agent.wanted is agents.Wanted.RUNNING and agent.phase in _UP:
                return agent
            return self._wanted_running(agent, caller, reason or "started")

        return await self._order(caller, name, "start", change, once=once)

    async def restart(
        self, caller: access.Caller, name: str, reason: str = "", *, once: str | None = None
    ) -> agents.Agent:
        """Want a fresh sandbox; two restarts asked for at once are one."""

        def change(agent: agents.Agent) -> agents.Agent:
            return self._wanted_running(agent, caller, reason or "restarted")

        return await self._order(caller, name, "restart", change, once=once)

    async def stop(self, caller: access.Caller, name: str, reason: str = "") -> agents.Agent:
        """Want an agent stopped; its turn is interrupted, and its mail goes back."""
        return await self._order(caller, name, "stop", _stopped, stop=_Stop.WITH_GRACE, why=reason)

    async def kill(
        self, caller: access.Caller, name: str, reason: str = "", *, once: str | None = None
    ) -> agents.Agent:
        """Want an agent stopped now: the whole process tree ends at once; state is kept."""
        return await self._order(
            caller, name, "kill", _stopped, stop=_Stop.AT_ONCE, why=reason, once=once
        )

    async def set_status(self, caller: access.Caller, text: str) -> agents.Agent:
        """Show one line about the caller's work on the page."""
        line = " ".join(text.split())
        if len(line) > STATUS_MAX:
            raise errors.invalid(
                f"cannot set the status: it has {len(line)} characters, the limit is {STATUS_MAX}"
            )

        def work(tx: ports.Tx) -> agents.Agent:
            agent = dataclasses.replace(lookup.require_agent(tx, caller.agent_id), status=line)
            tx.update_agent(agent)
            tx.record(events.Event(events.EventKind.AGENT_STATUS_SET, agent=agent.id, text=line))
            return agent

        return await self._store.write(work)

    async def report_servers(
        self, agent_id: ids.AgentId, told: Sequence[Mapping[str, str]]
    ) -> None:
        """Note how the extra MCP servers of an agent stand."""
        await self._store.write(lambda tx: mcp_servers.note(tx, agent_id, told))

    async def identify(self, agent_id: ids.AgentId) -> access.Caller:
        """Who the agent behind a socket is, as of now."""

        def look(tx: ports.ReadTx) -> access.Caller:
            agent = lookup.require_agent(tx, agent_id)
            listed = recipients.allowed(tx, agent_id)
            allowed = None if listed is None else frozenset(listed)
            return access.Caller(
                ids.PartyId(agent.id), agent.name, agent.role, "agent socket", allowed
            )

        return await self._store.read(look)

    async def whoami(self, caller: access.Caller) -> dict[str, Any]:
        """What an agent may know of itself."""
        agent = await self._store.read(lambda tx: lookup.require_agent(tx, caller.agent_id))
        return {"name": agent.name, "role": agent.role.value, "status": agent.status}

    async def peers(self, caller: access.Caller) -> list[dict[str, Any]]:
        """Who else is here: name, role, phase, state and status line."""
        rows = await self._store.read(lambda tx: tx.list_agents())
        return [
            {
                "name": agent.name,
                "role": agent.role.value,
                "phase": agent.phase.value,
                "state": agent.turn_state.value,
                "status": agent.status,
            }
            for agent in rows
            if agent.id != caller.party
        ]

    # --- parts -------------------------------------------------------------------------

    async def _order(
        self,
        caller: access.Caller,
        name: str,
        verb: str,
        change: Callable[[agents.Agent], agents.Agent],
        *,
        stop: _Stop | None = None,
        why: str = "",
        once: str | None = None,
    ) -> agents.Agent:
        access.require(caller, access.Right.MANAGER, f"{verb} an agent")

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_named(tx, name)
            if agent.role is agents.Role.MANAGER and not caller.is_operator:
                raise errors.forbidden(f"cannot {verb} the manager: only the operator may")
            if once is not None:
                if tx.get_value(once) is not None:
                    return agent
                tx.put_value(once, agent.id)
            changed = change(agent)
            idle = agent.phase is agents.Phase.STOPPED
            if stop is not None and idle and agent.wanted is agents.Wanted.RUNNING:
                # It was about to start, and nothing is left for the fleet loop to carry out.
                self._call_off(tx, agent, stop)
            elif stop is not None and not idle:
                note = f"{_PAST[stop]} by {caller.name}" + (f": {why}" if why else "")
                value = {"at_once": stop is _Stop.AT_ONCE, "note": note[:REASON_MAX]}
                tx.put_value(_stop_key(agent.id), value)
            else:
                forget_stop_order(tx, agent.id)
            if changed != agent or (stop is _Stop.AT_ONCE and not idle):
                tx.update_agent(changed)
                tx.record(
                    events.Event(
                        events.EventKind.AGENT_WANTED,
                        agent=agent.id,
                        text=f"{verb} by {caller.name} on the {caller.via}",
                        topics=(events.agent_topic(agent.id), events.FLEET),
                    )
                )
            return changed

        return await self._store.write(work)

    def _call_off(self, tx: ports.Tx, agent: agents.Agent, stop: _Stop) -> None:
        note = "it was stopped before it had started"
        spawning.settle(tx, self._clock, agent, ok=False, note=note)
        if stop is _Stop.AT_ONCE:
            posting.tell_manager(tx, self._clock.now(), agent, "killed")

    def _wanted_running(
        self, agent: agents.Agent, caller: access.Caller, reason: str
    ) -> agents.Agent:
        return dataclasses.replace(
            agent,
            wanted=agents.Wanted.RUNNING,
            epoch=agent.epoch + 1,
            crashes=0,
            retry_at=None,
            start_reason=f"{reason} (by {caller.name})"[:REASON_MAX],
        )


class _Stop(enum.Enum):
    """How a sandbox is to end."""

    WITH_GRACE = "with grace"
    AT_ONCE = "at once"


_PAST: Final = {_Stop.WITH_GRACE: "stopped", _Stop.AT_ONCE: "killed"}
_UP: Final = frozenset({agents.Phase.RUNNING, agents.Phase.STARTING, agents.Phase.SPAWNING})


@dataclasses.dataclass(frozen=True, slots=True)
class StopOrder:
    """What the fleet loop must know to carry a stop out; there is one until it has ended."""

    at_once: bool
    note: str
    """Who asked, and why; shown with the stopped agent."""


def stop_order(tx: ports.ReadTx, agent: ids.AgentId) -> StopOrder | None:
    """The stop that was asked for last; None when a start came after it, or it is done."""
    value = tx.get_value(_stop_key(agent))
    return None if value is None else StopOrder(value["at_once"], value["note"])


def forget_stop_order(tx: ports.Tx, agent: ids.AgentId) -> None:
    """It has been carried out, or a start has overruled it."""
    tx.delete_value(_stop_key(agent))


def _stopped(agent: agents.Agent) -> agents.Agent:
    return dataclasses.replace(agent, wanted=agents.Wanted.STOPPED, retry_at=None)


def _stop_key(agent: ids.AgentId) -> str:
    return f"stop:{agent}"
