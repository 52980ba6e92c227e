"""What can go wrong with PostgreSQL, in words that a condition can show. All of it is retried."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import asyncpg


class DatabaseError(Exception):
    """Base class; the message says what to do next. `reason` is the CamelCase reason of a condition."""

    reason: ClassVar[str] = "DatabaseError"


class DatabaseUnavailable(DatabaseError):
    """No connection, or it was cut."""

    reason = "DatabaseUnavailable"


class DatabaseFull(DatabaseError):
    """The disk is full."""

    reason = "DatabaseFull"


class TooManyConnections(DatabaseError):
    """max_connections is reached."""

    reason = "TooManyConnections"


class DatabaseForbidden(DatabaseError):
    """A right is missing or the password is wrong."""

    reason = "DatabaseForbidden"


class DatabaseTaken(DatabaseError):
    """A database or role of this name belongs to somebody else; it is not touched."""

    reason = "DatabaseTaken"


class DatabaseLost(DatabaseError):
    """A tenant's database that was there is gone; somebody must decide what comes in its place."""

    reason = "DatabaseLost"


class TemplateBusy(DatabaseError):
    """Somebody is connected to the template, so it cannot be copied now."""

    reason = "TemplateBusy"


class DatabaseInUse(DatabaseError):
    """Somebody whose sessions the administrator may not end keeps a database from being dropped."""

    reason = "DatabaseInUse"


class ServerNotPrepared(DatabaseError):
    """Registry, template or roles of the server are missing: PostgreSQL was replaced, or never prepared."""

    reason = "ServerNotPrepared"


class TemplateMissing(DatabaseError):
    """The template has not been migrated yet."""

    reason = "TemplateMissing"


_BY_STATE: dict[str, tuple[type[DatabaseError], str]] = {
    "53100": (DatabaseFull, "the disk of PostgreSQL is full: enlarge the volume; it is retried"),
    "53200": (DatabaseFull, "PostgreSQL is out of memory: raise its memory limit; it is retried"),
    "53300": (TooManyConnections, "PostgreSQL has no free connection: raise max_connections; it is retried"),
    "42501": (DatabaseForbidden, "the administrator role lacks a right; see docs/external-postgresql.md"),
    "28P01": (DatabaseForbidden, "PostgreSQL refuses the password: check the Secret with the credentials"),
    "28000": (DatabaseForbidden, "PostgreSQL refuses the log-in: check the role and pg_hba.conf"),
    "3D000": (ServerNotPrepared, "a database is missing that was there before; the server is prepared again"),
    "42P01": (ServerNotPrepared, "the registry lacks its tables; the server is prepared again"),
    "55006": (TemplateBusy, "the template database is in use, most likely by a migration; it is retried"),
}


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Turn driver errors inside the block into `DatabaseError`s that name the server and never a secret."""
    try:
        yield
    except asyncpg.PostgresConnectionError as error:
        raise DatabaseUnavailable(f"PostgreSQL of server {server} cut the connection; it is retried") from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state in _BY_STATE:
            kind, advice = _BY_STATE[state]
            raise kind(f"server {server}: {advice} (PostgreSQL says: {error.message})") from error
        if state.startswith(("57P", "08")):
            raise DatabaseUnavailable(
                f"PostgreSQL of server {server} is stopping or starting; it is retried"
            ) from error
        raise DatabaseError(f"server {server}: PostgreSQL says: {error.message}; it is retried") from error
    # Before ValueError, which it is as well.
    except ssl.SSLCertVerificationError as error:
        raise DatabaseUnavailable(
            f"server {server}: the certificate of PostgreSQL is not what ca.crt vouches for ({error.verify_message}); "
            "check ca.crt, the host name and sslmode in the Secret; it is retried"
        ) from error
    except ValueError as error:
        # What the driver refuses to send (its DataError among them): the value is at fault, not the server.
        raise DatabaseError(f"server {server}: a value does not fit its column: {error}; it is retried") from error
    # InternalClientError: a statement met the server's farewell, before the driver had closed the connection.
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if "rejected SSL upgrade" in str(error):
            raise DatabaseUnavailable(
                f"PostgreSQL of server {server} does not offer encryption, which sslmode demands: turn its ssl on, or "
                "change sslmode in the Secret; it is retried"
            ) from error
        raise DatabaseUnavailable(
            f"PostgreSQL of server {server} cannot be reached ({type(error).__name__}); it is retried"
        ) from error
