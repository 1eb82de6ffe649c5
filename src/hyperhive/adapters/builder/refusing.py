"""Refusals of builders: each says for whom it could not build."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hyperhive import ports
from hyperhive.domain import errors


@contextlib.contextmanager
def named(order: ports.BuildOrder) -> Iterator[None]:
    """Put the agent's name before what went wrong; the host's own refusals are UNAVAILABLE."""
    try:
        yield
    except errors.HiveError as error:
        raise errors.HiveError(error.kind, f"cannot build {order.name}: {error.message}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise errors.unavailable(
            f"cannot build {order.name}: {where}{error.strerror or error}"
        ) from error
