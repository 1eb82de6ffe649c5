"""What `hive doctor` says about the forge: nothing here is worse than a notice."""

from __future__ import annotations

from typing import Any, Final, cast

from hyperhive import ports
from hyperhive.adapters.mirror import api
from hyperhive.adapters.mirror.place import Place

TOPIC: Final = "forge"
_OK: Final = ports.Severity.OK
_NOTICE: Final = ports.Severity.NOTICE
_SCOPES: Final = "write:organization and write:repository"


def no_token(place: Place, error: ports.MirrorError) -> list[ports.Finding]:
    """For a place without a usable token."""
    return [
        ports.Finding(
            TOPIC, _NOTICE, f"{place.base} is set, but nothing is mirrored: {error.message}",
            f"make a token with the scopes {_SCOPES} (docs/forge.md), then: hive forge set-token",
        )
    ]  # fmt: skip


async def look(forge: api.Api, place: Place) -> list[ports.Finding]:
    """Ask the forge about itself, the account and the organisation."""
    try:
        version = (await forge.call("GET", "/version", usable={200})).word("version")
        found = [ports.Finding(TOPIC, _OK, f"{place.base} answers (version {version[:40]!r})")]
        found += await _account(forge)
        found += await _organisation(forge, place)
    except ports.MirrorError as error:
        return [
            ports.Finding(
                TOPIC, _NOTICE, error.message,
                "the hive works without it; what is behind is pushed once it answers",
            )
        ]  # fmt: skip
    if place.is_in_the_clear():
        found.append(
            ports.Finding(
                TOPIC, _NOTICE, f"{place.base} is not https: the token travels unencrypted",
                "use https, or a forge on this host",
            )
        )  # fmt: skip
    return found


async def _account(forge: api.Api) -> list[ports.Finding]:
    user = await forge.call("GET", "/user", usable={200, 403})
    if user.status == 403:
        # A right less than it could have: nothing to mend, only less to see.
        return []
    if not user.truth("is_admin"):
        return [ports.Finding(TOPIC, _OK, f"its account {user.word('login')[:40]!r} is no admin")]
    return [
        ports.Finding(
            TOPIC, _NOTICE,
            f"its account {user.word('login')[:40]!r} is an admin of the forge: who gets the "
            "token gets everything there",
            "make an ordinary account for the hive (docs/forge.md)",
        )
    ]  # fmt: skip


async def _organisation(forge: api.Api, place: Place) -> list[ports.Finding]:
    name = place.organisation
    found = await forge.call("GET", f"/orgs/{name}", usable={200, 404})
    if found.status == 404:
        return [ports.Finding(TOPIC, _OK, f"the organisation {name} will be made")]
    if found.word("visibility") != "private":
        return [
            ports.Finding(
                TOPIC, _NOTICE, f"the organisation {name} is not private",
                "it is made private at the next push",
            )
        ]  # fmt: skip
    members = await forge.call("GET", f"/orgs/{name}/members?limit=50", usable={200})
    people = [
        str(cast(dict[str, Any], each).get("login", "?"))[:40]
        for each in cast(list[object], members.body)
        if isinstance(each, dict)
    ]
    if len(people) <= 1:
        text = f"the organisation {name} is private and has no other member"
        return [ports.Finding(TOPIC, _OK, text)]
    return [
        ports.Finding(
            TOPIC, _NOTICE,
            f"the organisation {name} has {len(people)} members: each reads every configuration "
            f"({', '.join(map(repr, people[:5]))})",
            f"remove the others from {name} on the forge, unless they are meant to read it",
        )
    ]  # fmt: skip
