"""Text from outside that is kept: bounded, and never what no store takes."""

from __future__ import annotations

from hyperhive.domain import errors


def check(text: str, most: int, doing: str, what: str) -> str:
    """Return *text*, or raise `HiveError` INVALID "cannot *doing*: the *what* …".

    Refused are: nothing but blanks, more than *most* characters, NUL, half a surrogate pair.
    """
    if not text.strip():
        raise errors.invalid(f"cannot {doing}: the {what} is empty")
    if len(text) > most:
        raise errors.invalid(
            f"cannot {doing}: the {what} has {len(text)} characters and the limit is {most}"
        )
    if "\x00" in text:
        raise errors.invalid(f"cannot {doing}: the {what} contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise errors.invalid(
            f"cannot {doing}: the {what} has a lone surrogate character"
        ) from error
    return text
