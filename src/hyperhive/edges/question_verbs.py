"""Verbs about questions: what agents ask the operator and each other."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from hyperhive.domain import access, questions
from hyperhive.edges.action_params import Count
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.edges.params import Id, Params
from hyperhive.wire import views


class Questions(Params):
    """Of ``questions``."""

    limit: Count = 100


class Answer(Params):
    """Of ``answer``."""

    id: Annotated[Id, Meta(description="The question.")]
    picks: Annotated[
        list[Annotated[str, Meta(max_length=questions.OPTION_MAX)]],
        Meta(max_length=questions.OPTIONS_MAX, description="Options that are picked."),
    ] = field(default_factory=list[str])
    text: Annotated[str, Meta(description="Own words, beside or instead of options.")] = ""


class OneQuestion(Params):
    """Of ``cancel-question``."""

    id: Annotated[Id, Meta(description="The question.")]


async def list_questions(deps: Deps, _: access.Caller, given: Questions) -> Json:
    """Questions: first those that wait, oldest first, then those that ended, newest first."""
    found = await deps.asking.list_all(given.limit)
    return {"questions": [views.question_view(row) for row in found]}


async def answer(deps: Deps, caller: access.Caller, given: Answer) -> Json:
    """Answer a question; what is picked and what is written reach who asked as one text."""
    ended = await deps.asking.answer(caller, given.id, picks=given.picks, text=given.text)
    return views.question_view(ended)


async def cancel_question(deps: Deps, caller: access.Caller, given: OneQuestion) -> Json:
    """End a question without an answer; who asked hears `[cancelled]`."""
    return views.question_view(await deps.asking.cancel(caller, given.id))
