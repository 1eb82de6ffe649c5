"""Deployments: which configuration each agent runs.

One row per agent. The store decides; tags, main and meta follow.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from hyperhive.domain import ids


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed for one agent, and what is on trial."""

    agent_id: ids.AgentId
    approval: ids.ApprovalId
    """The approval that put it there; 0 is the seed (deployed/0)."""
    sha: str
    tree: str
    generation: str
    """`ids.GenerationId` of the built environment; empty for one that needs no build."""
    built_from: str
    """The builder's name for its inputs (base root, pins); differs from the present one: stale."""
    configuration: Mapping[str, Any]
    """`configuration.to_json`; what turn plans, sandbox specs and the egress proxy read."""
    deployed_at: datetime.datetime
    trial: ids.ApprovalId | None = None
    """While a switch is being checked: the proposal whose generation and configuration count."""
