"""The card of an approval on a terminal: effects, reasons, build, and every changed byte.

The daemon has written out whatever has no picture (``⟦U+202E⟧``); nothing is shortened here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from hyperhive.cli import show
from hyperhive.cli.options import Invocation

Json = Mapping[str, Any]

_KINDS: Final = {"commit": "apply commit", "rollback": "roll back", "inputs": "update inputs"}
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_COLORS: Final = {"+": "green", "-": "red"}
_EXECUTABLE: Final = "100755"


def name_kind(approval: Json) -> str:
    """What is asked for, in words."""
    proposal = approval.get("proposal")
    if proposal is None:
        return str(approval["kind"])
    return _KINDS.get(proposal["origin"], str(proposal["origin"]))


def print_card(card: Json, call: Invocation) -> None:
    """Print everything to know before deciding."""
    approval, proposal = card["approval"], card["proposal"]
    show.pairs(_headline(card), color=call.color)
    if proposal is not None and proposal["inputs"]:
        _title("newer versions of", call)
        show.echo("  " + show.clean(", ".join(proposal["inputs"])))
    elif proposal is not None:
        _title("what it does", call)
        print_effects(card["effects"], bool(proposal["generation"]), call)
        for name in card.get("missing_secrets", ()):
            said = f"the secret {name} is not set on this host; see: hive secret set {name}"
            _echo("  ! " + show.clean(said), call, "yellow")
    if card["description"]:
        _title("why, in the words of the one who asks", call)
        _quote(card["description"])
    if card["commit"] is not None:
        _title(f"the commit says (by {show.clean(card['commit']['author'])})", call)
        _quote(card["commit"]["message"])
        _title(f"changed files, compared with what is {card['base']}", call)
        print_files(card["files"], call)
    if card["needs_acknowledgement"] and approval["state"] == "pending":
        _title("cannot be taken as read, and must be acknowledged", call)
        for entry in card["needs_acknowledgement"]:
            show.echo("  " + name_unread(entry))


def name_unread(entry: Json) -> str:
    """A file with why it cannot be taken as read."""
    return show.clean(f"{entry['path']}: {', '.join(entry['reasons'])}")


def _headline(card: Json) -> list[tuple[str, str]]:
    approval, proposal = card["approval"], card["proposal"]
    rows = [
        ("approval", f"{approval['id']} ({approval['state']})"),
        ("kind", name_kind(approval)),
        ("agent", approval["agent"]),
        ("asked by", f"{approval['requested_by']}, {show.age(approval['requested_at'])} ago"),
    ]
    if proposal is not None:
        rows += [
            ("commit", f"{proposal['sha'] or '-'} (asked for as {proposal['commit_ref'] or '-'})"),
            ("runs now", proposal["base_sha"] or "-"),
            ("build", " ".join(filter(None, (proposal["build"], proposal["build_note"])))),
            ("generation", proposal["generation"] or "-"),
        ]
        if proposal["expires_at"] and approval["state"] == "pending":
            rows.append(("expires", proposal["expires_at"]))
    if approval["decided_at"]:
        decided = f"{approval['decided_by']}, {approval['decided_via']}, {approval['decided_at']}"
        rows.append(("decided by", decided))
    if approval["note"]:
        rows.append(("note", approval["note"]))
    return [*rows, ("digest", card["digest"])]


def print_effects(effects: Json, is_built: bool, call: Invocation) -> None:
    """Print what a change does, as the hive computed it."""
    changes: Sequence[Json] = effects.get("changes", ())
    if not changes:
        said = (
            "nothing that the hive knows of: only files" if is_built else "known once it is built"
        )
        show.echo(f"  {said}")
    for warning in effects.get("warnings", ()):
        _echo("  ! " + show.clean(warning), call, "yellow")
    for change in changes:
        sign = _SIGNS.get(change["change"], "~")
        value = change["after"] if change["after"] is not None else change["before"]
        if change["change"] == "changed":
            value = f"{change['before']} -> {change['after']}"
        text = f"  {sign} {change['topic']}: {change['name']}"
        text += f" ({value})" if value != change["name"] else ""
        risky = change["weight"] == "risk"
        _echo(
            show.clean(text) + ("  [more power]" if risky else ""), call, "yellow" if risky else ""
        )


def print_files(files: Sequence[Json], call: Invocation) -> None:
    """Print all changes, file by file."""
    if not files:
        show.echo("  none")
    for file in files:
        said = [file["change"], *_modes(file), *(mark["says"] for mark in file["marks"])]
        head = f"{file['path']}  +{file['added']} -{file['removed']}  ({', '.join(said)})"
        show.echo(show.bold("  " + show.clean(head), call.color))
        if file["kind"] != "text":
            _print_unread(file, call)
        for hunk in file["hunks"]:
            show.echo(show.dim(f"  @@ -{hunk['before']} +{hunk['after']} @@", call.color))
            print_rows(hunk["rows"], call)


def print_rows(rows: Sequence[Json], call: Invocation) -> None:
    """Print lines with their signs."""
    for row in rows:
        text = row["text"].replace("\t", "→   ")
        _echo(f"  {row['sign']}{show.clean(text)}", call, _COLORS.get(row["sign"], ""))
        if row.get("open"):
            show.echo(show.dim("  \\ no line feed at the end", call.color))


def _print_unread(file: Json, call: Invocation) -> None:
    side = "_before" if file.get("mode") is None else ""
    _echo(
        f"  NOT READ ({file['kind']}): {file[f'size{side}']} bytes, "
        f"sha256 {file[f'sha256{side}'] or 'not computed'}, blob {file[f'blob{side}']}",
        call,
        "red",
    )


def print_content(file: Json, call: Invocation) -> None:
    """Print one whole file."""
    for mark in file["marks"]:
        lines = ", ".join(map(str, mark["lines"]))
        show.note(f"{mark['says']} in line {lines}")
    if file["kind"] != "text":
        _print_unread(file, call)
    for row in file["rows"]:
        show.echo(show.clean(row["text"].replace("\t", "    ")))


def _modes(file: Json) -> list[str]:
    before, after = file["mode_before"], file["mode"]
    if after is None or before == after:
        return ["executable"] if after == _EXECUTABLE else []
    if after == _EXECUTABLE:
        return ["becomes executable"]
    return [] if before is None else ["no longer executable"]


def _title(text: str, call: Invocation) -> None:
    show.echo()
    show.echo(show.bold(text + ":", call.color))


def _quote(text: str) -> None:
    for line in show.clean(text, lines=True).splitlines():
        show.echo("  | " + line)


def _echo(text: str, call: Invocation, color: str) -> None:
    show.echo(click.style(text, fg=color) if color and call.color else text)
