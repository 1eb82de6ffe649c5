"""A brain for tests: the prompt itself says what the model shall do.

The newest prompt holds one or more ``<script>[…]</script>``, each a JSON list of
steps; several are joined. Steps up to and including the next one that uses a
tool make one answer, so the k-th request since the prompt plays the k-th such
part; what follows the last tool is the final answer. `docs/scripted-model.md`
lists the steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from hyperhive.scripted_model import brain, mail, speech

ALWAYS: Final = 1_000_000

_NAMED_FAILURES: Final[Mapping[str, brain.Fail]] = {
    "prompt_too_long": brain.Fail(400, speech.PROMPT_TOO_LONG),
    "credit": brain.Fail(400, speech.NO_CREDIT),
}


class ScriptError(Exception):
    """A script says something that is not a step."""


def puppet(request: brain.Request) -> brain.Reply:
    """Play the script in the newest prompt; say in plain words what came when there is none."""
    found = mail.scripts(request.prompt)
    if not found:
        return plain(request)
    return play(request, found)


def play(request: brain.Request, found: list[str]) -> brain.Reply:
    """Play *found*; a faulty script is answered with 400, so that the test shows why."""
    try:
        split = parts(found)
        if request.round >= len(split):
            return [brain.Say("The script is over.")]
        return play_part(request, split[request.round]) or [brain.Say("Done.")]
    except ScriptError as error:
        return [brain.Fail(400, f"cannot play the script: {error}")]


def plain(request: brain.Request) -> brain.Reply:
    """An answer to what is no script: helper requests of the CLI, and people."""
    if "summary of the conversation" in request.prompt:
        told = summary_steps(request)
        if told:
            return play_part(request, told)
        return [brain.Say("<summary>The scripted model has nothing to remember.</summary>")]
    if not request.tools and "title" in request.system.lower():
        return [brain.Say('{"title": "Scripted"}')]
    if request.mail:
        names = ", ".join(f"message {one.id} from {one.sender}" for one in request.mail)
        return [brain.Say(f"This is the scripted model. It got {names}, and no script.")]
    return [brain.Say(f"This is the scripted model. It got: {request.prompt[:80]}")]


def summary_steps(request: brain.Request) -> list[dict[str, Any]]:
    """What the newest ``compacting`` step of the whole conversation says of its summary."""
    texts = [
        str(block.get("text", ""))
        for role, blocks in request.messages
        if role == "user"
        for block in blocks
    ]
    for text in reversed(texts):
        for step in reversed(_steps(mail.scripts(text))):
            given = step.get("compacting")
            if isinstance(given, list) and all(isinstance(one, dict) for one in given):
                return given
    return []


def parts(found: list[str]) -> list[list[dict[str, Any]]]:
    """The steps of *found*, one list for each answer; the last uses no tool and may be empty."""
    split: list[list[dict[str, Any]]] = [[]]
    for step in _steps(found):
        split[-1].append(step)
        if "tool" in step or "tools" in step:
            split.append([])
    return split


def play_part(request: brain.Request, steps: list[dict[str, Any]]) -> list[brain.Block]:
    """The answer that *steps* make at this attempt; empty when they say nothing."""
    failures: list[tuple[brain.Block, int]] = []
    blocks: list[brain.Block] = []
    for step in steps:
        kinds = [word for word in step if word in _STEPS]
        if not kinds:
            raise ScriptError(f"no such step: {json.dumps(step)[:120]}")
        for word in kinds:
            made = _STEPS[word](_fill(step, request))
            if word in _FAULTS:
                failures.append((made[0], _times(step)))
            else:
                blocks.extend(made)
    attempt = request.attempt
    for fault, times in failures:
        if attempt < times:
            if isinstance(fault, brain.Fail):
                return [*(one for one in blocks if isinstance(one, brain.Wait)), fault]
            blocks.append(fault)
            break
        attempt -= times
    content = brain.Say | brain.Think | brain.UseTool
    if blocks and not any(isinstance(one, content) for one in blocks):
        blocks.append(brain.Say("Done."))
    return blocks


def _steps(found: list[str]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for text in found:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ScriptError(f"not JSON: {error}") from error
        if not isinstance(value, list) or not all(isinstance(step, dict) for step in value):
            raise ScriptError("it must be a list of objects")
        steps.extend(value)
    return steps


def _fill(value: Any, request: brain.Request) -> Any:
    """Replace the placeholders in every string of *value*."""
    if isinstance(value, str):
        first = request.mail[0] if request.mail else mail.Mail("", "", "")
        value = value.replace("{{last_result}}", request.last_result)
        value = value.replace("{{message_id}}", first.id).replace("{{from}}", first.sender)
        return value.replace("{{name}}", request.name)
    if isinstance(value, dict):
        return {key: _fill(one, request) for key, one in value.items()}
    if isinstance(value, list):
        return [_fill(one, request) for one in value]
    return value


def _times(step: Mapping[str, Any]) -> int:
    times = step.get("times", 1)
    if times == "always":
        return ALWAYS
    if not isinstance(times, int) or times < 0:
        raise ScriptError(f'times must be a number or "always", not {times!r}')
    return times


def _number(step: Mapping[str, Any], name: str) -> float:
    value = step.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ScriptError(f"{name} must be a number, not {value!r}")
    return float(value)


def _use(name: Any, given: Any) -> brain.UseTool:
    if not isinstance(name, str) or not isinstance(given, dict):
        raise ScriptError('a tool step is {"tool": NAME, "input": {…}}')
    return brain.UseTool(name, given)


def _tools(step: Mapping[str, Any]) -> list[brain.Block]:
    given = step["tools"]
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ScriptError('tools must be a list of {"tool": NAME, "input": {…}}')
    return [_use(one.get("tool"), one.get("input", {})) for one in given]


def _error(step: Mapping[str, Any]) -> list[brain.Block]:
    what = step["error"]
    named = _NAMED_FAILURES.get(what) if isinstance(what, str) else None
    if named is None and not isinstance(what, int):
        allowed = ", ".join(_NAMED_FAILURES)
        raise ScriptError(f"error must be a status or one of {allowed}, not {what!r}")
    headers = {str(k): str(v) for k, v in dict(step.get("headers", {})).items()}
    if "retry_after" in step:
        headers["retry-after"] = f"{_number(step, 'retry_after'):g}"
    if "limited_until" in step:
        headers.update(limit_headers(int(_number(step, "limited_until"))))
    if named is not None:
        return [brain.Fail(named.status, named.message, headers=headers)]
    kind = str(step.get("type", ""))
    return [brain.Fail(int(what), str(step.get("message", "")), kind, headers)]


def limit_headers(resets_at: int, window: str = "five_hour") -> dict[str, str]:
    """The headers with which the API says that a subscription's limit is used up.

    *resets_at* is in Unix seconds. The CLI heeds them with a login, not with an API key.
    """
    short = {"five_hour": "5h", "seven_day": "7d"}[window]
    prefix = "anthropic-ratelimit-unified"
    return {
        f"{prefix}-status": "rejected",
        f"{prefix}-reset": str(resets_at),
        f"{prefix}-representative-claim": window,
        f"{prefix}-{short}-status": "rejected",
        f"{prefix}-{short}-reset": str(resets_at),
        f"{prefix}-{short}-utilization": "1.0",
    }


def _tokens(step: Mapping[str, Any]) -> list[brain.Block]:
    given = step["usage"]
    if not isinstance(given, dict) or not all(isinstance(n, int) for n in given.values()):
        raise ScriptError("usage must be an object of numbers")
    return [
        brain.Tokens(
            given.get("input"),
            given.get("output"),
            given.get("cache_read", 0),
            given.get("cache_write", 0),
        )
    ]


_STEPS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[brain.Block]]]] = {
    "think": lambda step: [brain.Think(str(step["think"]))],
    "say": lambda step: [brain.Say(str(step["say"]))],
    "tool": lambda step: [_use(step["tool"], step.get("input", {}))],
    "tools": _tools,
    "sleep": lambda step: [brain.Wait(_number(step, "sleep"))],
    "slow": lambda step: [brain.Slow(_number(step, "slow"))],
    "stall": lambda step: [brain.Stall(int(_number(step, "after")), _number(step, "stall"))],
    "stop": lambda step: [brain.Stop(str(step["stop"]))],
    "usage": _tokens,
    # Only heard when the CLI asks for a summary of the conversation that this stands in.
    "compacting": lambda _: [],
    "error": _error,
    "cut": lambda step: [brain.Cut(int(_number(step, "cut")))],
    "snap": lambda step: [
        brain.Snap(int(_number(step, "snap")), str(step.get("type", "overloaded_error")))
    ],
}
_FAULTS: Final = frozenset({"error", "cut", "snap"})
