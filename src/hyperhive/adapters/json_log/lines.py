"""The daemon's log: one JSON object a line, ASCII only.

Text of agents is always a field, never the message, and every control or
non-ASCII character is escaped: no log line can be forged, no terminal driven.
"""

from __future__ import annotations

import logging
import logging.handlers
import pathlib
from typing import Any, cast

import structlog

SIZE = 16 * 1024 * 1024
KEPT = 3


def open_log(path: pathlib.Path) -> structlog.typing.FilteringBoundLogger:
    """A logger that appends to *path*, rotated at 16 MiB with three old files kept."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=SIZE, backupCount=KEPT, encoding="ascii", delay=True
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    sink = logging.Logger("hyperhive.daemon", logging.INFO)
    sink.addHandler(handler)
    # What libraries have to say (aiohttp's request errors, say) goes to the same file.
    library = logging.getLogger()
    library.handlers[:] = [_library_handler(path)]
    library.setLevel(logging.WARNING)
    return cast(
        "structlog.typing.FilteringBoundLogger",
        structlog.wrap_logger(
            sink, processors=_PROCESSORS, wrapper_class=structlog.make_filtering_bound_logger(20)
        ),
    )


_PROCESSORS: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Without locals: a frame may hold a credential.
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    ),
    structlog.processors.JSONRenderer(ensure_ascii=True, default=repr),
]


def _library_handler(path: pathlib.Path) -> logging.Handler:
    handler = logging.handlers.WatchedFileHandler(path, encoding="ascii", delay=True)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=True, default=repr),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
        )
    )
    return handler
