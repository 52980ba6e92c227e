"""Logs: one JSON object per line on stderr, times in Japan Standard Time, no secrets."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from elink_operator.jst import JST

_SECRET_WORDS: Final = ("password", "token", "secret_value", "setup_url", "authorization", "credential")
_QUIET: Final = {
    # One line per event of every object would be the bulk of the log and say nothing new.
    "kopf.objects": logging.WARNING,
    "kopf.activities": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}


def add_time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """`time`: ISO 8601 with the offset +09:00 and milliseconds."""
    event["time"] = datetime.now(UTC).astimezone(JST).isoformat(timespec="milliseconds")
    return event


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last line of defence: values whose key names a secret are replaced."""
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "[redacted]"
    return event


def configure(level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers (kopf's, aiohttp's) to stderr as JSON."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=()),
        add_time,
        # Never with local variables: passwords are among them.
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, logging.getLevelName(level)))


def _dumps(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
