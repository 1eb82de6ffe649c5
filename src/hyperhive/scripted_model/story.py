"""The demo's brain (see `docs/scripted-model.md`)."""

from __future__ import annotations

from hyperhive.scripted_model import brain, mail, puppet


def story(request: brain.Request) -> brain.Reply:
    """Play one step of the demo; a script in the mail is played as by the puppet."""
    found = mail.scripts(request.prompt)
    if found:
        return puppet.play(request, found)
    return puppet.plain(request)
