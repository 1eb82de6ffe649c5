"""Every query has a plan that does not read a whole table; the plans of the hot ones are golden."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator

import pytest

from hyperhive.adapters.store import proposal_rows, queries, question_rows, schema, statistics_rows
from hyperhive.domain import approvals, messages, proposals
from hyperhive.domain.messages import MessageState

SMALL = {"LIST_AGENTS", "LAST_MESSAGE", "LIST_QUESTIONS", "TURN_TOTALS"}
"""All of them, or the newest, are wanted; sqlite_sequence has one row for each table."""

HOT = {
    "LAST_NUMBER": ["SEARCH facts"],
    "FACTS_AFTER": ["SEARCH facts USING INTEGER PRIMARY KEY (rowid>?)"],
    "FIND_AGENT": ["SEARCH agents USING INDEX sqlite_autoindex_agents_2 (name=?)"],
    "FIND_MESSAGE_BY_KEY": ["SEARCH messages USING INDEX messages_by_key (sender=? AND key=?)"],
    "COUNT_QUEUED": [
        "SEARCH messages USING COVERING INDEX messages_open (recipient=? AND state=?)"
    ],
    "NEXT_QUEUED": ["SEARCH messages USING INDEX messages_open (recipient=? AND state=?)"],
    "LIST_LEASED_BY": ["SEARCH messages USING INDEX messages_leased (lease=?)"],
    "LIST_LEASED_TO": ["SEARCH messages USING INDEX messages_open (recipient=? AND state=?)"],
    "UPDATE_MESSAGE": ["SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)"],
    "DELETE_TURNS": [
        "SEARCH turns USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY 1",
        "SEARCH turns USING COVERING INDEX turns_by_agent (agent=?)",
        "SCALAR SUBQUERY 2",
        "SEARCH turns USING COVERING INDEX turns_by_agent (agent=?)",
        "CORRELATED SCALAR SUBQUERY 3",
        "SEARCH messages USING INDEX messages_leased (lease=?)",
    ],
    "DELETE_HANDLED": [
        "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY 1",
        "SEARCH messages USING INDEX messages_handled (changed_at<?)",
    ],
}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for step in schema.load_steps():
        connection.executescript(step.sql)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, query: str) -> list[str]:
    bound = [None] * query.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", bound)]


def constants() -> dict[str, str]:
    return {
        name: value
        for module in (proposal_rows, question_rows, statistics_rows, queries)
        for name, value in vars(module).items()
        if isinstance(value, str) and name.isupper() and not name.startswith("_")
    }


@pytest.mark.parametrize("name", sorted(constants()))
def test_no_query_scans_a_table(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, constants()[name])
    scans = [
        step
        for step in steps
        if step.startswith("SCAN") and "USING" not in step and "CONSTANT ROWS" not in step
    ]
    assert bool(scans) is (name in SMALL), steps
    if name not in SMALL:
        assert not [step for step in steps if "TEMP B-TREE" in step], steps


@pytest.mark.parametrize("name", sorted(HOT))
def test_hot_queries_use_the_index_made_for_them(connection: sqlite3.Connection, name: str) -> None:
    assert plan(connection, constants()[name]) == HOT[name]


def test_listing_mail_walks_an_index_and_never_sorts(connection: sqlite3.Connection) -> None:
    sets = [None, *(frozenset({state}) for state in MessageState)]
    sets += [frozenset(pair) for pair in itertools.combinations(MessageState, 2)]
    for of_recipient, states, before in itertools.product((True, False), sets, (True, False)):
        query = queries.list_messages(of_recipient, states, before)
        steps = plan(connection, query)
        assert not [step for step in steps if "TEMP B-TREE" in step], (query, steps)
        if of_recipient:
            assert "recipient=?" in steps[0], (query, steps)


def test_rare_states_are_found_by_their_own_index(connection: sqlite3.Connection) -> None:
    dead = queries.list_messages(False, frozenset({messages.MessageState.DEAD}), False)
    assert plan(connection, dead) == ["SCAN messages USING INDEX messages_dead"]
    pending = queries.list_approvals(frozenset({approvals.ApprovalState.PENDING}))
    assert plan(connection, pending) == [
        "SEARCH approvals USING INDEX approvals_by_state (state=?)"
    ]


def test_what_is_still_to_do_is_found_by_its_own_index(connection: sqlite3.Connection) -> None:
    queued = proposal_rows.list_proposals(False, frozenset({proposals.BuildState.QUEUED}), None)
    assert plan(connection, queued) == ["SEARCH proposals USING INDEX proposals_by_build (build=?)"]
    checking = proposal_rows.list_proposals(False, None, frozenset({proposals.DeployStep.CHECKING}))
    assert plan(connection, checking) == ["SEARCH proposals USING INDEX proposals_by_step (step=?)"]
    of_agent = proposal_rows.list_proposals(True, None, None)
    assert plan(connection, of_agent) == [
        "SEARCH proposals USING INDEX proposals_by_agent (agent_id=?)"
    ]


def test_statistics_read_only_the_days_and_the_agent_that_are_asked_for(
    connection: sqlite3.Connection,
) -> None:
    for of_agent in (True, False):
        index = "turns_by_agent (agent=?)" if of_agent else "turns_by_start (started_at>?)"
        for query in (
            statistics_rows.sum_turns(of_agent),
            statistics_rows.count_wakers(of_agent),
            statistics_rows.turn_times(of_agent),
        ):
            steps = plan(connection, query)
            of_turns = [step for step in steps if " turns" in step]
            assert of_turns == [f"SEARCH turns USING INDEX {index}"], steps
