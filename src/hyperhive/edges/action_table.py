"""Every verb of the operator, in one table: the page, the admin socket and `hive` all use it.

A row says what a verb is called, what it takes, what does it, and whether it answers
once or as a stream. The reference is written from it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from hyperhive.domain import access
from hyperhive.edges import action_params as given
from hyperhive.edges import action_verbs as verbs
from hyperhive.edges import configuration_params as named
from hyperhive.edges import configuration_verbs as configuring
from hyperhive.edges import (
    forge_verbs,
    params,
    question_verbs,
    secret_verbs,
    statistics_params,
    statistics_verbs,
    turn_params,
    turn_verbs,
    waiting_verbs,
)

Once = Callable[[verbs.Deps, access.Caller, Any], Awaitable[Any]]
Many = Callable[[verbs.Deps, access.Caller, Any], AsyncIterator[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One verb that answers once."""

    name: str
    params: type[params.Params]
    run: Once

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return _first_line(self.run)


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """One verb that answers with events, for as long as it is listened to."""

    name: str
    params: type[params.Params]
    run: Many

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return _first_line(self.run)


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


TABLE: Final[tuple[Action | Stream, ...]] = (
    Action("status", given.Nothing, verbs.status),
    Action("list", given.Nothing, verbs.list_agents),
    Stream("subscribe", given.Subscribe, verbs.subscribe),
    Action("send", given.Send, verbs.send),
    Action("recipients", given.Recipients, verbs.set_recipients),
    Action("inbox", given.Inbox, verbs.inbox),
    Action("handled", given.OneMessage, verbs.handled),
    Action("messages", given.Messages, verbs.list_messages),
    Action("requeue", given.OneMessage, verbs.requeue),
    Action("questions", question_verbs.Questions, question_verbs.list_questions),
    Action("answer", question_verbs.Answer, question_verbs.answer),
    Action("cancel-question", question_verbs.OneQuestion, question_verbs.cancel_question),
    Action("pending", given.Nothing, verbs.pending),
    Action("approvals", given.Approvals, verbs.list_approvals),
    Action("card", named.Card, configuring.card),
    Stream("build-log", named.BuildLog, configuring.build_log),
    Action("cancel-build", given.OneApproval, configuring.cancel_build),
    Action("approve", given.Approve, verbs.approve),
    Action("deny", given.Deny, verbs.deny),
    Action("withdraw", given.OneApproval, verbs.withdraw),
    Action("request-spawn", given.Spawn, verbs.request_spawn),
    Action("spawn", given.Spawn, verbs.spawn),
    Action("start", given.Order, verbs.start),
    Action("stop", given.Order, verbs.stop),
    Action("restart", given.Order, verbs.restart),
    Action("kill", given.Order, verbs.kill),
    Action("interrupt", given.OneAgent, verbs.interrupt),
    Action("retry", given.OneAgent, verbs.retry),
    Action("set-model", turn_params.SetModel, turn_verbs.set_model),
    Action("compact", given.OneAgent, turn_verbs.compact),
    Action("new-session", given.OneAgent, turn_verbs.new_session),
    Action("pause", turn_params.Pause, turn_verbs.pause),
    Action("resume", given.OneAgent, turn_verbs.resume),
    Action("waiting", given.Nothing, waiting_verbs.waiting),
    Action("go-on", given.OneAgent, waiting_verbs.go_on),
    Action("budgets", given.Nothing, waiting_verbs.list_budgets),
    Action("set-budget", waiting_verbs.SetBudget, waiting_verbs.set_budget),
    Action("turns", given.Turns, verbs.list_turns),
    Action("stats", statistics_params.Stats, statistics_verbs.stats),
    Action("metrics-token", statistics_params.MetricsToken, statistics_verbs.metrics_token),
    Action("rebuild", given.OneAgent, configuring.rebuild),
    Action("history", named.History, configuring.history),
    Action("rollback", named.Rollback, configuring.rollback),
    Action("repositories", given.Nothing, configuring.repositories),
    Action("config-files", named.ConfigFiles, configuring.config_files),
    Action("config-file", named.ConfigFile, configuring.config_file),
    Action("compare", named.Compare, configuring.compare),
    Action("meta-log", given.Nothing, configuring.meta_log),
    Action("inputs", given.Nothing, configuring.inputs),
    Action("update-inputs", named.UpdateInputs, configuring.update_inputs),
    Stream("logs", given.Logs, verbs.logs),
    Stream("watch", given.Watch, verbs.watch),
    Action("set-secret", secret_verbs.SetSecret, secret_verbs.set_secret),
    Action("secrets", given.Nothing, secret_verbs.list_secrets),
    Action("delete-secret", secret_verbs.OneSecret, secret_verbs.delete_secret),
    Action("forge-status", given.Nothing, forge_verbs.status),
    Action("set-forge-token", forge_verbs.SetToken, forge_verbs.set_token),
    Action("sign-in-link", given.Nothing, verbs.sign_in_link),
    Action("model-source", given.ModelSource, verbs.set_model_source),
    Action("model-status", given.Nothing, verbs.model_status),
    Action("doctor", given.Nothing, verbs.doctor),
    Action("version", given.Nothing, verbs.version),
    Action("shutdown", given.Shutdown, verbs.shutdown),
)

BY_NAME: Final = {action.name: action for action in TABLE}
