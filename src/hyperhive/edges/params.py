"""Parameters from outside, turned into typed objects or into a refusal that names the field."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec

from hyperhive.domain import errors

T = TypeVar("T")

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A number of a row; what JSON and every store can hold exactly."""
Name = Annotated[str, msgspec.Meta(max_length=64)]
"""A name before anybody has looked whether it names something."""


class Params(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all parameters: nothing unknown is accepted, nothing is coerced."""


def convert(kind: type[T], value: Any, doing: str) -> T:
    """Return *value* as *kind*, or raise `HiveError` INVALID: "cannot *doing*: …"."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise errors.invalid(f"cannot {doing}: {_words(str(error))}") from error
    except UnicodeEncodeError as error:
        # msgspec looks at the UTF-8 of some strings, and half a surrogate pair has none.
        raise errors.invalid(f"cannot {doing}: its text contains a lone surrogate") from error


def schema(kind: type[Params]) -> dict[str, Any]:
    """JSON Schema of *kind*, without the words that are for readers of the code."""
    _, components = msgspec.json.schema_components([kind], ref_template="{name}")
    made = dict(components[kind.__name__])
    made.pop("title", None)
    made.pop("description", None)
    return made


def _words(text: str) -> str:
    # "Expected `int`, got `str` - at `$.id`" -> "id: expected `int`, got `str`"
    found = _AT.fullmatch(text)
    if found is None:
        return _lower(text)
    path = found["path"].removeprefix("$").removeprefix(".")
    return f"{path}: {_lower(found['what'])}" if path else _lower(found["what"])


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


_AT: Final = re.compile(r"(?P<what>.*) - at `(?P<path>[^`]*)`", re.DOTALL)
