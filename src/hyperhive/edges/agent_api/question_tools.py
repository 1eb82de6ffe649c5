"""Tools for what an agent waits for: answers of the operator and of others, and its own reminders.

Each returns at once; what is waited for comes as mail and wakes the agent.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from hyperhive.domain import access, questions, reminders
from hyperhive.edges import params
from hyperhive.edges.agent_api.tool import Call, Nothing, Tool
from hyperhive.wire import views

Text = Annotated[
    str,
    msgspec.Meta(
        description="One question, complete in itself: who answers sees nothing else of you.",
        extra_json_schema={"maxLength": questions.TEXT_MAX},
    ),
]
Options = Annotated[
    list[str],
    msgspec.Meta(
        description="Answers to choose from. They are advice: other words may come back.",
        extra_json_schema={"maxItems": questions.OPTIONS_MAX},
    ),
]
Multi = Annotated[bool, msgspec.Meta(description="Whether several options may be picked.")]
Ttl = Annotated[
    float | None,
    msgspec.Meta(
        description='After so many seconds the answer is "[expired]". Without it the question '
        "waits for ever.",
        extra_json_schema={"minimum": 1, "maximum": questions.TTL_MAX},
    ),
]


class AskOperator(params.Params):
    """Arguments of ``ask_operator``."""

    question: Text
    options: Options = msgspec.field(default_factory=list[str])
    multi: Multi = False
    ttl_seconds: Ttl = None


class Ask(params.Params):
    """Arguments of ``ask``."""

    to: Annotated[params.Name, msgspec.Meta(description="Name of the agent, as `peers` shows it.")]
    question: Text
    options: Options = msgspec.field(default_factory=list[str])
    multi: Multi = False
    ttl_seconds: Ttl = None


class Answer(params.Params):
    """Arguments of ``answer``."""

    id: Annotated[params.Id, msgspec.Meta(description="`id` of the event `question_asked`.")]
    text: Annotated[
        str,
        msgspec.Meta(
            description="The answer. Options picked are written with `, ` between them.",
            extra_json_schema={"maxLength": questions.ANSWER_MAX},
        ),
    ]


class Remind(params.Params):
    """Arguments of ``remind``."""

    text: Annotated[
        str,
        msgspec.Meta(
            description="What you will need to know then.",
            extra_json_schema={"maxLength": reminders.TEXT_MAX},
        ),
    ]
    at: Annotated[
        str | None,
        msgspec.Meta(description="A time with its offset, e.g. 2026-11-23T08:15:00Z."),
    ] = None
    after: Annotated[
        float | str | None,
        msgspec.Meta(description="In how long: seconds, or words such as 45m, 2h, 1d12h."),
    ] = msgspec.field(default=None, name="in")


class TakeBack(params.Params):
    """Arguments of ``take_back``."""

    what: Annotated[
        Literal["question", "reminder"], msgspec.Meta(description="Which of the two it is.")
    ]
    id: Annotated[params.Id, msgspec.Meta(description="Its id, as `loose_ends` shows it.")]


async def _ask_operator(call: Call, args: AskOperator) -> dict[str, Any]:
    return await _ask_of(call, "operator", args)


async def _ask(call: Call, args: Ask) -> dict[str, Any]:
    return await _ask_of(call, args.to, args)


async def _ask_of(call: Call, to: str, args: AskOperator | Ask) -> dict[str, Any]:
    call.services.allowances.spend(call.caller.agent_id, args.question)
    asked = await call.services.asking.ask(
        call.caller,
        to,
        args.question,
        options=args.options,
        multi=args.multi,
        ttl_seconds=args.ttl_seconds,
        once=call.once,
    )
    return {
        "id": asked.id,
        "to": asked.asked_name,
        "state": asked.state.value,
        "expires_at": views.timestamp(asked.expires_at),
    }


async def _answer(call: Call, args: Answer) -> dict[str, Any]:
    call.services.allowances.spend(call.caller.agent_id, args.text)
    ended = await call.services.asking.answer(call.caller, args.id, text=args.text)
    return {"id": ended.id, "state": ended.state.value}


async def _remind(call: Call, args: Remind) -> dict[str, Any]:
    made = await call.services.reminding.remind(
        call.caller, args.text, at=args.at, after=args.after, once=call.once
    )
    return {"id": made.id, "due_at": views.timestamp(made.due_at), "state": made.state.value}


async def _loose_ends(call: Call, _: Nothing) -> dict[str, Any]:
    return await call.services.asking.loose_ends(call.caller)


async def _take_back(call: Call, args: TakeBack) -> dict[str, Any]:
    if args.what == "question":
        ended = await call.services.asking.cancel(call.caller, args.id)
        return {"id": ended.id, "state": ended.state.value}
    gone = await call.services.reminding.cancel(call.caller, args.id)
    return {"id": gone.id, "state": gone.state.value}


TOOLS: Final = (
    Tool(
        "ask_operator",
        access.Right.AGENT,
        AskOperator,
        "Put a question to the human on their page. It returns an id at once; the answer comes "
        "later as the event `operator_answered` with `id`, `question` and `answer`, and wakes "
        'you: go on with other work or end your turn. "[expired]" and "[cancelled]" mean that '
        f"nobody answered: decide yourself. At most {questions.OPEN_TO_OPERATOR} may wait and "
        f"{questions.HOURLY_TO_ONE} be asked in an hour, so ask for what only a human can "
        "decide. For news that need no answer use `send`.",
        _ask_operator,
    ),
    Tool(
        "ask",
        access.Right.AGENT,
        Ask,
        "Put a question to another agent, when you need its answer to go on. It returns an id at "
        "once; the answer comes as the event `question_answered` with `id`, `by`, `question` and "
        "`answer`, and wakes you. Unlike a message it stays open, for both of you to see in "
        "`loose_ends`, until it is answered or over.",
        _ask,
    ),
    Tool(
        "answer",
        access.Right.AGENT,
        Answer,
        "Answer a question that another agent put to you with the event `question_asked`. Only "
        "you and the operator can. It can be answered once.",
        _answer,
    ),
    Tool(
        "remind",
        access.Right.AGENT,
        Remind,
        "Wake yourself at a time (`at`) or after a while (`in`): `text` comes back as the event "
        "`reminder`, also when the hive was restarted meanwhile. Use it instead of waiting in a "
        f"turn; at most {reminders.WAITING_MAX} may wait. Each one costs a turn.",
        _remind,
    ),
    Tool(
        "loose_ends",
        access.Right.AGENT,
        Nothing,
        "List what you have begun and not ended: questions that you asked and that wait, "
        "questions that wait for your answer, reminders, mail of this turn, and the time now.",
        _loose_ends,
    ),
    Tool(
        "take_back",
        access.Right.AGENT,
        TakeBack,
        "End a question of yours that you need no answer to any more, or drop a reminder. "
        "Nobody is told.",
        _take_back,
    ),
)
