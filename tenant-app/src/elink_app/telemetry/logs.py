"""JSON logs, one line per event, time in JST with its offset. No request body, query string or SQL value is logged."""

from __future__ import annotations

import logging
import sys
from datetime import datetime
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from elink_app.clock import JST

# These put the values of a statement into their text (personal data): only their type and SQLSTATE are logged.
_VALUE_BEARING = ("sqlalchemy.", "asyncpg.", "pydantic")


def _add_time(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    event["time"] = datetime.now(tz=JST).isoformat(timespec="milliseconds")
    return event


def describe_error(error: BaseException) -> dict[str, str]:
    """What may be logged of an exception: type, SQLSTATE, text when it bears no data, and the frames."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    described = {"type": name}
    original = getattr(error, "orig", None) or error
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate:
        described["sqlstate"] = str(sqlstate)
    if not name.startswith(_VALUE_BEARING):
        described["text"] = str(error)[:500]
    return described


def _frames(error: BaseException) -> list[str]:
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename.rsplit("site-packages/", 1)[-1]
        frames.append(f"{file}:{trace.tb_lineno} {code.co_qualname}")
        trace = trace.tb_next
    return frames[-25:]


def _safe_exception(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = describe_error(error)
        event["frames"] = _frames(error)
        cause = error.__cause__ or error.__context__
        if cause is not None:
            event["cause"] = describe_error(cause)
    return event


def _to_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    ordered: dict[str, Any] = {"time": event.pop("time"), "level": event.pop("level", "info"), **event}
    return orjson.dumps(ordered, default=str).decode()


def configure_logs(level: str, *, server: str, role: str, version: str) -> None:
    """Send everything, the libraries' records too, to standard output as JSON."""

    def add_process(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {"server": server, "role": role, "version": version, **event}

    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        add_process,
        _add_time,
        _safe_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _to_json],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "sqlalchemy"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = name != "uvicorn.access"
    logging.getLogger("alembic").setLevel("WARNING")
