"""The demo's manager changes a configuration: a package for an agent, by a commit and a request."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from hyperhive.scripted_model import brain, mail

Beat: TypeAlias = Callable[[brain.Request], list[brain.Block]]
Send: TypeAlias = Callable[[str], brain.UseTool]

APPLY: Final = "mcp__hive__request_apply_commit"

_WISH: Final = re.compile(
    r"\b(?:give|get|install|add)\b.*?\bpackage\s+[\"'`“]?(?P<package>[a-z0-9][a-z0-9+.-]+)"
    r"|\binstall\s+[\"'`“]?(?P<other>[a-z0-9][a-z0-9+.-]+)",
    re.IGNORECASE | re.DOTALL,
)
_FOR: Final = re.compile(
    r"\b(?:give|for|in|on|to)\s+[\"'`“]?(?!the\b|a\b|it\b|package\b)(?P<agent>[a-z][a-z0-9-]*)",
    re.IGNORECASE,
)
EDIT: Final = """\
import pathlib, re, sys
package, path = sys.argv[1], pathlib.Path("agent.toml")
text = path.read_text()
listed = re.search(r"^apt = \\[(.*)\\]$", text, re.MULTILINE)
if listed:
    names = re.findall(r'"([^"]+)"', listed[1])
    names += [package] if package not in names else []
    text = text.replace(listed[0], "apt = [" + ", ".join(f'"{name}"' for name in names) + "]")
else:
    text = text.rstrip() + f'\\n\\n[packages]\\napt = ["{package}"]\\n'
path.write_text(text)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """A package that the operator wants an agent to have."""

    agent: str
    package: str


def find_wish(text: str) -> Wish | None:
    """The wish in a mail such as "give nova the package tree"; None when there is none."""
    found = _WISH.search(text)
    whose = _FOR.search(text)
    if found is None or whose is None:
        return None
    package = (found["package"] or found["other"]).lower().rstrip(".")
    return Wish(whose["agent"].lower(), package)


def propose(wish: Wish, send: Send) -> list[Beat]:
    """Edit, commit, show what changed, and ask; the operator hears what came of asking."""
    where = f"/agents/{wish.agent}/config"
    # In a shell of its own: the CLI adds a line to the result when the directory has changed.
    commit = (
        f"(cd {where} && git fetch -q applied && git rebase -q applied/main && "
        f"python3 - {wish.package} <<'END'\n{EDIT}END\n"
        f"git commit -qam 'Give {wish.agent} {wish.package}' && git rev-parse HEAD)"
    )
    asked = {
        "agent": wish.agent,
        "commit_ref": "",
        "description": f"The operator asked for the package {wish.package}.",
    }

    def request_it(request: brain.Request) -> list[brain.Block]:
        result = request.results[-1] if request.results else None
        sha = re.search(r"\b[0-9a-f]{40}\b", result.text) if result is not None else None
        if sha is None:
            said = result.text.strip()[:500] if result is not None else "there was no result"
            return [send(f"I could not commit the change for {wish.agent}: {said}")]
        return [
            brain.Say("The commit is there. I ask for it to be applied."),
            brain.UseTool(APPLY, asked | {"commit_ref": sha[0]}),
        ]

    def report(request: brain.Request) -> list[brain.Block]:
        result = request.results[-1] if request.results else None
        if result is None or result.is_error or "approval" not in result.text:
            return [brain.Say("The operator knows why it did not work.")]
        return [
            send(
                f"I have proposed the package {wish.package} for {wish.agent}. It is being built; "
                "look at the card on your page, with everything that changes, and approve it."
            )
        ]

    def diff(_: brain.Request) -> list[brain.Block]:
        command = f"(cd {where} && git diff applied/main)"
        return [
            brain.UseTool(
                "Bash", {"command": command, "description": "See what the operator will see"}
            )
        ]

    return [
        lambda _: [
            brain.Think(
                f"{wish.agent} shall have {wish.package}. Its configuration is a git repository; "
                "what runs changes only when the operator approves a commit."
            ),
            brain.UseTool("Bash", {"command": commit, "description": "Edit and commit"}),
        ],
        request_it,
        report,
        diff,
        lambda _: [brain.Say("The operator decides now. I end my turn until mail comes.")],
    ]


def on_resolved(event: Mapping[str, Any], send: Send) -> list[Beat]:
    """Tell the operator what came of a proposal."""
    agent, status = str(event.get("agent")), event.get("status")
    note = f": {event['note']}" if event.get("note") else "."
    if status == "deployed":
        text = f"{agent} runs its new configuration ({event.get('tag')})."
    elif status == "denied":
        text = f"Understood: {agent} stays as it is{note}"
    else:
        text = f"The change for {agent} was not applied; it is {status}{note}"
    return [
        lambda _: [send(text)],
        lambda _: [brain.Say("The operator knows.")],
    ]


def is_proposal(event: Mapping[str, Any]) -> bool:
    """Whether an event says what came of a commit."""
    return event.get("event") == "approval_resolved" and event.get("kind") == "apply_commit"


def reply(send: Callable[[str, str, mail.Mail | None], brain.UseTool], one: mail.Mail) -> Send:
    """How to write to the operator about *one*."""
    return lambda body: send("operator", body, one)
