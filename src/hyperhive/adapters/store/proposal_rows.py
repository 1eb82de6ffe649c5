"""Proposals and deployments in SQLite: queries, rows, and the methods of a transaction.

Apart from the rest because they are long rows that few works touch. Facts about how the
tables are used stand in the migration.
"""

# ruff: noqa: D102, S608 - the port says what each method does; only constants go into queries
from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

from hyperhive.adapters.store import rows
from hyperhive.domain import deployments, errors, ids, proposals

_PROPOSAL: Final = (
    "id, agent_id, origin, commit_ref, sha, tree, base_sha, build, build_note, generation, "
    "configuration, effects, step, epoch, deadline, expires_at, tag, changed_at"
)
_DEPLOYMENT: Final = (
    "id, approval, sha, tree, generation, built_from, configuration, deployed_at, trial"
)


def _marks(columns: str) -> str:
    return ", ".join("?" for _ in columns.split(","))


def _settings(columns: str) -> str:
    return ", ".join(f"{column.strip()} = ?" for column in columns.split(",")[1:])


GET_PROPOSAL: Final = f"SELECT {_PROPOSAL} FROM proposals WHERE id = ?"
INSERT_PROPOSAL: Final = f"INSERT INTO proposals ({_PROPOSAL}) VALUES ({_marks(_PROPOSAL)})"
UPDATE_PROPOSAL: Final = f"UPDATE proposals SET {_settings(_PROPOSAL)} WHERE id = ?"
GET_DEPLOYMENT: Final = f"SELECT {_DEPLOYMENT} FROM deployments WHERE id = ?"
LIST_DEPLOYMENTS: Final = f"SELECT {_DEPLOYMENT} FROM deployments ORDER BY id"
PUT_DEPLOYMENT: Final = (
    f"INSERT OR REPLACE INTO deployments ({_DEPLOYMENT}) VALUES ({_marks(_DEPLOYMENT)})"
)


@functools.cache
def list_proposals(
    of_agent: bool,
    builds: frozenset[proposals.BuildState] | None,
    steps: frozenset[proposals.DeployStep] | None,
) -> str:
    """Newest first. Bind the agent (where asked for) and the limit."""
    conditions: list[str] = []
    if of_agent:
        conditions.append("agent_id = ?")
    if builds is not None:
        conditions.append(f"build IN ({_listed(state.value for state in builds)})")
    if steps is not None:
        conditions.append(f"step IN ({_listed(step.value for step in steps)})")
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"SELECT {_PROPOSAL} FROM proposals {where}ORDER BY id DESC LIMIT ?"


def _listed(words: Iterable[str]) -> str:
    """*words* are members of our own enums, never input."""
    return ", ".join(f"'{word}'" for word in sorted(words))


def proposal_in(proposal: proposals.Proposal) -> rows.Row:
    """A row from a proposal, its approval first."""
    return (
        proposal.approval, proposal.agent_id, proposal.origin.value, proposal.commit_ref,
        proposal.sha, proposal.tree, proposal.base_sha, proposal.build.value,
        proposal.build_note, proposal.generation, rows.json_in(proposal.configuration),
        rows.json_in(proposal.effects), proposal.step.value, proposal.epoch,
        rows.maybe_time_in(proposal.deadline), rows.maybe_time_in(proposal.expires_at),
        proposal.tag, rows.time_in(proposal.changed_at),
    )  # fmt: skip


def proposal_out(row: rows.Row) -> proposals.Proposal:
    """A proposal from its row."""
    return proposals.Proposal(
        approval=ids.ApprovalId(row[0]),
        agent_id=ids.AgentId(row[1]),
        origin=proposals.Origin(row[2]),
        commit_ref=row[3],
        sha=row[4],
        tree=row[5],
        base_sha=row[6],
        build=proposals.BuildState(row[7]),
        build_note=row[8],
        generation=row[9],
        configuration=rows.json_out(row[10]),
        effects=rows.json_out(row[11]),
        step=proposals.DeployStep(row[12]),
        epoch=row[13],
        deadline=rows.maybe_time_out(row[14]),
        expires_at=rows.maybe_time_out(row[15]),
        tag=row[16],
        changed_at=rows.time_out(row[17]),
    )


def deployment_in(deployment: deployments.Deployment) -> rows.Row:
    """A row from a deployment, its agent first."""
    return (
        deployment.agent_id, deployment.approval, deployment.sha, deployment.tree,
        deployment.generation, deployment.built_from, rows.json_in(deployment.configuration),
        rows.time_in(deployment.deployed_at), deployment.trial,
    )  # fmt: skip


def deployment_out(row: rows.Row) -> deployments.Deployment:
    """A deployment from its row."""
    return deployments.Deployment(
        agent_id=ids.AgentId(row[0]),
        approval=ids.ApprovalId(row[1]),
        sha=row[2],
        tree=row[3],
        generation=row[4],
        built_from=row[5],
        configuration=rows.json_out(row[6]),
        deployed_at=rows.time_out(row[7]),
        trial=None if row[8] is None else ids.ApprovalId(row[8]),
    )


class ProposalReads:
    """The part of `ports.ReadTx` about proposals and deployments."""

    _execute: Callable[..., sqlite3.Cursor]
    """Of the connection."""

    def get_proposal(self, approval: ids.ApprovalId) -> proposals.Proposal | None:
        row = self._execute(GET_PROPOSAL, (approval,)).fetchone()
        return None if row is None else proposal_out(row)

    def list_proposals(
        self,
        *,
        agent: ids.AgentId | None = None,
        builds: Iterable[proposals.BuildState] | None = None,
        steps: Iterable[proposals.DeployStep] | None = None,
        limit: int = 200,
    ) -> list[proposals.Proposal]:
        of_builds = None if builds is None else frozenset(builds)
        of_steps = None if steps is None else frozenset(steps)
        query = list_proposals(agent is not None, of_builds, of_steps)
        bound = (limit,) if agent is None else (agent, limit)
        return [proposal_out(row) for row in self._execute(query, bound)]

    def get_deployment(self, agent: ids.AgentId) -> deployments.Deployment | None:
        row = self._execute(GET_DEPLOYMENT, (agent,)).fetchone()
        return None if row is None else deployment_out(row)

    def list_deployments(self) -> list[deployments.Deployment]:
        return [deployment_out(row) for row in self._execute(LIST_DEPLOYMENTS)]


class ProposalWrites(ProposalReads):
    """The part of `ports.Tx` about proposals and deployments."""

    def insert_proposal(self, proposal: proposals.Proposal) -> None:
        try:
            self._execute(INSERT_PROPOSAL, proposal_in(proposal))
        except sqlite3.IntegrityError as error:
            raise errors.conflict(
                f"cannot propose: approval {proposal.approval} has a proposal"
            ) from error

    def update_proposal(self, proposal: proposals.Proposal) -> None:
        number, *settings = proposal_in(proposal)
        if self._execute(UPDATE_PROPOSAL, (*settings, number)).rowcount != 1:
            raise errors.not_found(f"cannot change proposal {proposal.approval}: there is none")

    def put_deployment(self, deployment: deployments.Deployment) -> None:
        self._execute(PUT_DEPLOYMENT, deployment_in(deployment))
