"""What the daemon serves to sandboxes: `agent_worker.Doors`, for real and for ending them only.

Part of the composition root, like `wiring`.
"""

# ruff: noqa: D102 - `agent_worker.Doors` says what each method does
from __future__ import annotations

import socket
from collections.abc import Mapping

from hyperhive import ports
from hyperhive.adapters.agent_home import directories
from hyperhive.domain import agents, ids
from hyperhive.edges import egress as egress_edge
from hyperhive.edges import gateway as gateway_edge
from hyperhive.edges.agent_api import server as agent_server
from hyperhive.wire import agent_protocol


async def seed_nothing(_: agents.Agent) -> None:
    """Nothing is started here."""


class NoDoors:
    """Serves nothing: for ending sandboxes without a daemon."""

    async def open(self, agent: agents.Agent, spec: ports.SandboxSpec) -> None:
        raise RuntimeError("nothing is served here")

    async def attach(self, agent: agents.Agent, listeners: Mapping[int, socket.socket]) -> None:
        raise RuntimeError("nothing is served here")

    async def close(self, agent: ids.AgentId) -> None:
        """Nothing is open."""


class Doors:
    """The socket, the gateway and the egress proxy of every sandbox."""

    def __init__(
        self,
        api: agent_server.AgentApi,
        gateway: gateway_edge.Gateway,
        egress: egress_edge.EgressProxy,
        homes: directories.AgentHomes,
    ) -> None:
        self._api = api
        self._gateway = gateway
        self._egress = egress
        self._homes = homes

    async def open(self, agent: agents.Agent, spec: ports.SandboxSpec) -> None:
        await self._api.open(
            agent.id, self._homes.socket_directory(agent.id), uid=spec.uid, gid=spec.uid
        )

    async def attach(self, agent: agents.Agent, listeners: Mapping[int, socket.socket]) -> None:
        await self._gateway.serve(agent.id, listeners[agent_protocol.GATEWAY_PORT])
        await self._egress.serve(agent.id, listeners[agent_protocol.EGRESS_PORT])

    async def close(self, agent: ids.AgentId) -> None:
        await self._gateway.stop_serving(agent)
        await self._egress.stop_serving(agent)
        await self._api.close_agent(agent)
