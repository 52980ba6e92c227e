"""All PostgreSQL I/O of the operator."""

from elink_operator.database.databases import Databases
from elink_operator.database.errors import (
    DatabaseError,
    DatabaseForbidden,
    DatabaseFull,
    DatabaseInUse,
    DatabaseLost,
    DatabaseTaken,
    DatabaseUnavailable,
    ServerNotPrepared,
    TemplateBusy,
    TemplateMissing,
    TooManyConnections,
)
from elink_operator.database.model import Census, CensusRecord, ErasureEvidence, ServerDb, Snapshot, TenantDb
from elink_operator.database.residue import Residue
from elink_operator.database.sessions import Limits

__all__ = [
    "Census",
    "CensusRecord",
    "DatabaseError",
    "DatabaseForbidden",
    "DatabaseFull",
    "DatabaseInUse",
    "DatabaseLost",
    "DatabaseTaken",
    "DatabaseUnavailable",
    "Databases",
    "ErasureEvidence",
    "Limits",
    "Residue",
    "ServerDb",
    "ServerNotPrepared",
    "Snapshot",
    "TemplateBusy",
    "TemplateMissing",
    "TenantDb",
    "TooManyConnections",
]
