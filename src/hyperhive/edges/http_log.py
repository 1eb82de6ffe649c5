"""What our HTTP servers say to the log: bugs, and not what strangers send.

Whoever can connect could else fill the log with tracebacks, and would find quoted in
there what he sent, or what another client had in the same malformed header.
"""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import http_exceptions


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether *record* is about us; a request that is no HTTP was answered with 400 already."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, http_exceptions.HttpProcessingError)


LOGGER: Final = logging.getLogger("hyperhive.http")
"""For `aiohttp.web.Server` and `AppRunner`."""
LOGGER.addFilter(_is_ours)
