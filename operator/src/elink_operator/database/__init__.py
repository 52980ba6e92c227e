"""All PostgreSQL I/O of the operator."""

from elink_operator.database.databases import Databases
from elink_operator.database.errors import (
    DatabaseError,
    DatabaseForbidden,
    DatabaseFull,
    DatabaseTaken,
    DatabaseUnavailable,
    TemplateBusy,
    TemplateMissing,
    TooManyConnections,
)
from elink_operator.database.model import Census, ErasureEvidence, ServerDb, Snapshot, TenantDb
from elink_operator.database.sessions import Limits

__all__ = [
    "Census",
    "DatabaseError",
    "DatabaseForbidden",
    "DatabaseFull",
    "DatabaseTaken",
    "DatabaseUnavailable",
    "Databases",
    "ErasureEvidence",
    "Limits",
    "ServerDb",
    "Snapshot",
    "TemplateBusy",
    "TemplateMissing",
    "TenantDb",
    "TooManyConnections",
]
