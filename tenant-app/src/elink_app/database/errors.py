"""Which database errors mean "not now" and not "wrong"."""

from __future__ import annotations

import asyncpg
from sqlalchemy import exc

from elink_app.database.connect import WrongConnection


class NoConnectionLeft(Exception):
    """Every connection that this process may open is in use."""


_OUTAGE = (
    OSError,
    TimeoutError,
    NoConnectionLeft,
    WrongConnection,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidCatalogNameError,
    # "Not currently accepting connections": closed while a restore exchanges it.
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def is_outage(error: BaseException) -> bool:
    """True when the same request may succeed later: connection lost or refused, shutdown, full disk, a time limit."""
    if isinstance(error, exc.TimeoutError | exc.InvalidatePoolError | exc.DisconnectionError):
        return True
    if isinstance(error, exc.DBAPIError):
        if error.connection_invalidated:
            return True
        driver = error.orig.__cause__ if error.orig is not None else None
        return isinstance(driver, _OUTAGE)
    return isinstance(error, _OUTAGE)
