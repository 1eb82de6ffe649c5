"""The demo's brain: a manager who gets a helper approved, and a helper who does a task.

Who is asking is read from the system prompt, what has happened from the mail and
the tool results in the request. Mail becomes a list of beats, each one answer of
the model; a turn with several messages plays the beats of one after the other.
Agents write to nobody but whom they work for, so that two of them never talk in
circles. A ``<script>`` in the mail is played as by the puppet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from hyperhive.scripted_model import brain, configuring, mail, puppet

Beat: TypeAlias = Callable[[brain.Request], list[brain.Block]]
"""One answer of the model; it may look at the results of the beats before it."""

SEND: Final = "mcp__hive__send"
SPAWN: Final = "mcp__hive__request_spawn"
STATUS: Final = "mcp__hive__set_status"
WHOAMI: Final = "mcp__hive__whoami"
PEERS: Final = "mcp__hive__peers"

DEFAULT_HELPER: Final = "helper"

_WANTS_AGENT: Final = re.compile(
    r"\b(spawn\w*|helpers?|assistant|(?:an|another|new|second|one more)\s+(?:\w+\s+)?agent"
    r"|agent\s+(?:named|called))\b",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(
    r"\b(?:named|called|name\s+(?:it|them|him|her)|(?:the\s+)?name\s+is)\s+[\"'`“]?([A-Za-z][\w-]*)",
    re.IGNORECASE,
)
_TASK: Final = re.compile(r"\b(primes?|program|python|count|compute|calculate)\b", re.IGNORECASE)

PROGRAM_PATH: Final = "/state/primes.py"
PROGRAM: Final = '''\
"""Count the prime numbers below a limit with the sieve of Eratosthenes."""

LIMIT = 10_000

sieve = bytearray([1]) * LIMIT
sieve[0:2] = b"\\0\\0"
for number in range(2, int(LIMIT**0.5) + 1):
    if sieve[number]:
        sieve[number * number :: number] = bytes(len(range(number * number, LIMIT, number)))

primes = [number for number in range(LIMIT) if sieve[number]]
print(f"{len(primes)} primes below {LIMIT}; the largest is {primes[-1]}")
'''
TASK: Final = (
    "Welcome! A first small task: write a Python program that counts the prime numbers below "
    f"10000 with a sieve, keep it as {PROGRAM_PATH}, run it, and send me what it prints."
)


def story(request: brain.Request) -> brain.Reply:
    """Answer with the beat that the request has come to."""
    if not request.mail:
        found = mail.scripts(request.prompt)
        return puppet.play(request, found) if found else puppet.plain(request)
    try:
        beats = _plan(request)
        if request.round >= len(beats):
            return [brain.Say("That is all for now.")]
        return beats[request.round](request) or [brain.Say("Done.")]
    except puppet.ScriptError as error:
        return [brain.Fail(400, f"cannot play the script: {error}")]


def _plan(request: brain.Request) -> list[Beat]:
    """All beats of the turn. What closes one message opens the answer to the next."""
    beats: list[Beat] = []
    carried: list[Beat] = []
    for one in request.mail:
        *acts, closing = _beats(request, one)
        for act in acts:
            beats.append(_join([*carried, act]))
            carried = []
        carried.append(closing)
    return [*beats, _join(carried)]


def _join(beats: list[Beat]) -> Beat:
    return lambda request: [block for beat in beats for block in beat(request)]


def _beats(request: brain.Request, one: mail.Mail) -> list[Beat]:
    found = mail.scripts(one.body)
    if found:
        return [_scripted(steps) for steps in puppet.parts(found)]
    if SEND not in request.tools:
        return [_fixed(brain.Say("I have mail, but the hive's tools are not here to answer it."))]
    manager = request.role == "manager"
    if one.event:
        return _on_event(one.event) if manager else [_fixed(brain.Say("Noted."))]
    if manager:
        if one.sender != "operator":
            return _forward(one)
        wish = configuring.find_wish(one.body)
        if wish is not None and configuring.APPLY in request.tools:
            return configuring.propose(wish, configuring.reply(_send, one))
        wants = _WANTS_AGENT.search(one.body) is not None
        return _get_helper(one) if wants else _introduce_manager(one)
    if _TASK.search(one.body):
        return _do_task(one)
    if one.sender == "operator":
        return _introduce_helper(request, one)
    return [_fixed(brain.Say(f"Thank you, {one.sender}. Nothing to do about this."))]


def _scripted(steps: list[dict[str, Any]]) -> Beat:
    return lambda request: puppet.play_part(request, steps)


def _fixed(*blocks: brain.Block) -> Beat:
    return lambda _request: list(blocks)


def _send(to: str, body: str, reply_to: mail.Mail | None = None) -> brain.UseTool:
    answered = int(reply_to.id) if reply_to is not None and reply_to.id.isdecimal() else None
    extra = {} if answered is None else {"in_reply_to": answered}
    return brain.UseTool(SEND, {"to": to, "body": body, **extra})


def _bash(command: str, description: str) -> brain.UseTool:
    return brain.UseTool("Bash", {"command": command, "description": description})


# --- the manager --------------------------------------------------------------------------


def helper_name(text: str) -> str:
    """The name that the operator gives in *text*, made to fit the hive's rule for names."""
    found = _NAMED.search(text)
    words = re.findall(r"[a-z0-9]+", found[1].lower()) if found else []
    return "-".join(words)[:32].strip("-") or DEFAULT_HELPER


def _get_helper(one: mail.Mail) -> list[Beat]:
    name = helper_name(one.body)
    wish = " ".join(one.body.split())
    reason = f'The operator asked for it: "{wish[:280]}{"…" if len(wish) > 280 else ""}"'

    def answer(request: brain.Request) -> list[brain.Block]:
        result = request.results[-1] if request.results else None
        if result is not None and result.is_error:
            body = f"I could not ask for {name}: {_clean(result.text)}"
        else:
            body = (
                f"I have asked for a helper named {name}. Its approval waits on your page; "
                "as soon as you approve it I will give it a first task and report to you."
            )
        return [_send("operator", body, one)]

    return [
        _fixed(
            brain.Think(
                f"The operator wants a helper named {name}. An agent exists only with the "
                "operator's approval, so I look around and then request the spawn."
            ),
            brain.Say("I'll look at where I am before I ask for a helper."),
            _bash("pwd && ls -la && uname -sr", "Look around in the sandbox"),
        ),
        _fixed(
            brain.Say(f"All quiet here. I request the spawn of {name}."),
            brain.UseTool(SPAWN, {"name": name, "description": reason}),
        ),
        answer,
        _fixed(brain.Say("The operator decides now. I end my turn until mail comes.")),
    ]


def _on_event(event: Mapping[str, Any]) -> list[Beat]:
    kind, name = event.get("event"), str(event.get("agent", "the agent"))
    note = f": {event['note']}" if event.get("note") else "."
    if configuring.is_proposal(event):
        return configuring.on_resolved(event, lambda body: _send("operator", body))
    if kind == "spawned" and event.get("ok"):
        return [
            _fixed(brain.Say(f"{name} is up. I give it its first task."), _send(name, TASK)),
            _fixed(brain.Say(f"{name} has its task; I wait for the report.")),
        ]
    if kind == "spawned":
        return [
            _fixed(_send("operator", f"{name} was approved but could not be started{note}")),
            _fixed(brain.Say("The operator knows.")),
        ]
    if kind == "approval_resolved" and event.get("status") == "denied":
        said = f' You wrote: "{event["note"]}"' if event.get("note") else ""
        body = f"Understood: no agent named {name}.{said} I will do without it."
        return [_fixed(_send("operator", body)), _fixed(brain.Say("No helper, then."))]
    if kind == "approval_resolved":
        status = event.get("status", "resolved")
        return [_fixed(brain.Say(f"The request for {name} is {status}. I wait for what follows."))]
    return [_fixed(brain.Say(f"Noted: {kind}."))]


def _forward(one: mail.Mail) -> list[Beat]:
    body = f"{one.sender} reports:\n\n{one.body[:4000]}"
    return [
        _fixed(
            brain.Say(f"{one.sender} has reported. I pass it on to the operator."),
            _send("operator", body),
        ),
        _fixed(brain.Say("The operator has the result.")),
    ]


def _introduce_manager(one: mail.Mail) -> list[Beat]:
    def answer(request: brain.Request) -> list[brain.Block]:
        return [
            _send(
                "operator",
                "I am the scripted demo model: my sandbox, my tools and my mail are real, my "
                "words are from a script, so I cannot do what you write in general. I can play "
                'this: write to me "Please get a helper named nova", approve the spawn on your '
                'page, and watch nova do a small task and report. Then write "Give nova the '
                'package tree", look at the card and approve it. For a real model give the hive '
                "an API key or a token.\n\n"
                f"What my tools just told me: {_clean(request.last_result)}",
                one,
            )
        ]

    return [
        _fixed(
            brain.Say("I'll see who I am, who is here, and what I run on."),
            brain.UseTool(WHOAMI, {}),
            brain.UseTool(PEERS, {}),
        ),
        _fixed(
            _bash('echo "$(uname -sr), $(nproc) CPUs, user $(id -u), in $(pwd)"', "Look around")
        ),
        answer,
        _fixed(brain.Say("The operator has my answer.")),
    ]


# --- the helper ---------------------------------------------------------------------------


def _do_task(one: mail.Mail) -> list[Beat]:
    def report(request: brain.Request) -> list[brain.Block]:
        result = request.results[-1] if request.results else None
        if result is None or result.is_error:
            why = _clean(result.text) if result else "there was no result"
            body = f"I wrote {PROGRAM_PATH}, but running it failed: {why}"
        else:
            body = f"I wrote {PROGRAM_PATH} and ran it. It printed: {_clean(result.text)}"
        return [_send(one.sender, body, one)]

    return [
        _fixed(
            brain.Think(f"{one.sender} wants a program: write it, run it, report what it prints."),
            brain.Say("I'll write the program, run it and report."),
            brain.UseTool(STATUS, {"text": "counting primes"}),
        ),
        _fixed(brain.UseTool("Write", {"file_path": PROGRAM_PATH, "content": PROGRAM})),
        _fixed(_bash(f"python3 {PROGRAM_PATH}", "Run the program")),
        report,
        _fixed(brain.UseTool(STATUS, {"text": "done: counted primes"})),
        _fixed(brain.Say(f"Done; {one.sender} has the report.")),
    ]


def _introduce_helper(request: brain.Request, one: mail.Mail) -> list[Beat]:
    body = (
        f"I am {request.name or 'an agent'}, played by the scripted demo model. My sandbox and "
        'tools are real. Write to me "count the primes" and I write a program, run it and send '
        "you what it prints."
    )
    return [_fixed(_send("operator", body, one)), _fixed(brain.Say("Answered."))]


def _clean(text: str) -> str:
    """The message in a tool result, out of the JSON that MCP tools wrap it in."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()[:2000]
    if isinstance(value, dict) and isinstance(value.get("result"), str):
        return value["result"].strip()[:2000]
    return text.strip()[:2000]
