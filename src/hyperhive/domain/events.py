"""Facts: what has happened, in order, each with a number.

A fact names what changed (an agent, a message, an approval, a turn); the table
of that thing holds what it is now. So a reader that missed a hundred facts needs
only the rows that they name. Facts are announced after commit, as a number and
the topics that changed; nobody is ever sent the fact itself.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import NewType

from hyperhive.domain import ids

Topic = NewType("Topic", str)
"""What a waiter can wait for: see `inbox_topic`, FLEET, APPROVALS and ANY."""

ANY = Topic("any")
FLEET = Topic("fleet")
APPROVALS = Topic("approvals")
QUESTIONS = Topic("questions")
REMINDERS = Topic("reminders")
SETTINGS = Topic("settings")
DEPLOYS = Topic("deploys")
"""Proposals, their builds and what is deployed: what build, deploy and mirror loop wait for."""
MIRROR = Topic("mirror")
"""Configuration repositories whose refs may differ from the forge's; the mirror's status."""


def inbox_topic(party: ids.PartyId) -> Topic:
    """The topic of one party's mail."""
    return Topic(f"inbox:{party}")


def agent_topic(agent: ids.AgentId) -> Topic:
    """The topic of what is wanted of one agent; its fleet worker waits for it."""
    return Topic(f"agent:{agent}")


def orders_topic(agent: ids.AgentId) -> Topic:
    """The topic of what an agent's harness must do at once (interrupt)."""
    return Topic(f"orders:{agent}")


class EventKind(enum.Enum):
    """Every kind of fact, in the past tense."""

    AGENT_CREATED = "AgentCreated"
    AGENT_WANTED = "AgentWanted"
    AGENT_MOVED = "AgentMoved"
    AGENT_STATUS_SET = "AgentStatusSet"
    AGENT_RECIPIENTS_SET = "AgentRecipientsSet"
    AGENT_HELD = "AgentHeld"
    AGENT_LET_GO = "AgentLetGo"
    BUDGET_SET = "BudgetSet"
    EGRESS_REFUSED = "EgressRefused"
    TURN_STATE_CHANGED = "TurnStateChanged"
    TURN_STARTED = "TurnStarted"
    TURN_ENDED = "TurnEnded"
    TURNS_SWEPT = "TurnsSwept"
    TURN_INTERRUPT_ASKED = "TurnInterruptAsked"
    TURN_RETRY_ASKED = "TurnRetryAsked"
    TURN_COMPACTION_ASKED = "TurnCompactionAsked"
    TURN_SESSION_ASKED = "TurnSessionAsked"
    TURNS_PAUSED = "TurnsPaused"
    TURNS_RESUMED = "TurnsResumed"
    SESSION_RENEWED = "SessionRenewed"
    MODEL_SET = "ModelSet"
    MESSAGE_SENT = "MessageSent"
    MESSAGE_LEASED = "MessageLeased"
    MESSAGE_HANDLED = "MessageHandled"
    MESSAGE_RETURNED = "MessageReturned"
    MESSAGE_DIED = "MessageDied"
    MESSAGE_REQUEUED = "MessageRequeued"
    MESSAGES_SWEPT = "MessagesSwept"
    APPROVAL_REQUESTED = "ApprovalRequested"
    APPROVAL_MOVED = "ApprovalMoved"
    QUESTION_ASKED = "QuestionAsked"
    QUESTION_ENDED = "QuestionEnded"
    QUESTIONS_SWEPT = "QuestionsSwept"
    REMINDER_SET = "ReminderSet"
    REMINDER_ENDED = "ReminderEnded"
    REMINDERS_SWEPT = "RemindersSwept"
    BUILD_MOVED = "BuildMoved"
    DEPLOY_MOVED = "DeployMoved"
    CONFIGURATION_SEEDED = "ConfigurationSeeded"
    CONFIGURATION_DEPLOYED = "ConfigurationDeployed"
    REBUILD_ASKED = "RebuildAsked"
    INPUTS_UPDATED = "InputsUpdated"
    MIRROR_CHANGED = "MirrorChanged"
    MODEL_SOURCE_SET = "ModelSourceSet"
    SECRET_SET = "SecretSet"  # noqa: S105 - a word
    SECRET_DELETED = "SecretDeleted"  # noqa: S105 - a word
    MCP_SERVERS_REPORTED = "McpServersReported"
    OPERATOR_SIGNED_IN = "OperatorSignedIn"
    METRICS_TOKEN_CHANGED = "MetricsTokenChanged"  # noqa: S105 - a word


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A fact that is about to be recorded."""

    kind: EventKind
    agent: ids.AgentId | None = None
    message: ids.MessageId | None = None
    approval: ids.ApprovalId | None = None
    turn: ids.TurnId | None = None
    text: str = ""
    """A short sentence for the record; never a secret, never a whole body."""
    topics: tuple[Topic, ...] = ()
    question: ids.QuestionId | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """A recorded event with its number and time."""

    number: int
    at: datetime.datetime
    event: Event
