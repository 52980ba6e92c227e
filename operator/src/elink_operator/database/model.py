"""What the operator knows about a PostgreSQL server and about a tenant's place on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson


@dataclass(frozen=True)
class ServerDb:
    """How to reach the PostgreSQL of one ElinkServer as its administrator (CREATEDB, CREATEROLE; no superuser)."""

    name: str
    host: str
    port: int
    password: str = field(repr=False)
    app_password: str = field(repr=False)
    backup_password: str = field(repr=False)
    """Of the role that reads the registry for the server's own backups."""
    user: str = "elink_operator"
    maintenance_database: str = "postgres"
    sslmode: str = ""
    """libpq's; empty: encrypted when the server offers it."""
    authority: str = field(default="", repr=False)
    """The only certificate authority to trust (PEM)."""


@dataclass(frozen=True)
class TenantDb:
    """One tenant as PostgreSQL and the registry should have it.

    `uid` is the ElinkTenant's: a database marked with another uid is never touched. `setup_token_sha256` is hex.
    """

    name: str
    uid: str
    database: str
    role: str
    password: str = field(repr=False)
    host: str
    directory: str
    state: str
    state_reason: str
    display_name: str
    language: str
    limits: Mapping[str, int]
    contacts: Mapping[str, Any]
    mail: Mapping[str, Any]
    master_email: str
    setup_token_sha256: str
    setup_expires_at: datetime | None

    @property
    def role_hash(self) -> str:
        """Hash of what the database and its role are made from; a change of the rest changes the registry row only."""
        made_from = (self.uid, self.database, self.role, self.password)
        return hashlib.sha256(orjson.dumps(made_from)).hexdigest()[:16]

    @property
    def spec_hash(self) -> str:
        """Hash of everything that the registry row says, and of the password that the role should have."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class DatabaseFact:
    """A database that exists: its owner and the marker in its comment (a tenant's uid, or a spare's revision).

    `open` is False while it is being dropped: nobody may connect. `app` says whether the app may.
    """

    oid: int
    owner: str
    marker: str
    open: bool = True
    app: bool = True


@dataclass(frozen=True)
class Snapshot:
    """Everything on a server at one moment: databases and roles by exact name, registry rows as name → spec_hash.

    The spec_hash of a row that somebody else changed is empty (registry.sql). `used`: roles that the app may act as.
    `switched`: uids of the tenants whose database was exchanged by a restore (registry.sql).
    """

    databases: Mapping[str, DatabaseFact]
    roles: frozenset[str]
    registry: Mapping[str, str]
    used: frozenset[str] = frozenset()
    switched: frozenset[str] = frozenset()

    def serves(self, name: str, database: str, role: str) -> bool:
        """False when something that the app needs for a tenant is missing, or was changed by hand."""
        fact = self.databases.get(database)
        return (
            fact is not None
            and fact.open
            and fact.app
            and {role} <= self.roles & self.used
            and bool(self.registry.get(name))
        )

    def holds(self, tenant: TenantDb) -> bool:
        """True when the tenant is complete and nothing needs to be done."""
        fact = self.databases.get(tenant.database)
        return (
            self.serves(tenant.name, tenant.database, tenant.role)
            and fact is not None
            and fact.owner == tenant.role
            and fact.marker == tenant_marker(tenant.uid)
            and self.registry.get(tenant.name) == tenant.spec_hash
        )

    def traces(self, tenant: TenantDb) -> tuple[str, ...]:
        """What of the tenant is still there, in words; empty after an erasure."""
        found = []
        markers = {tenant_marker(tenant.uid), scratch_marker(tenant.uid), kept_marker(tenant.uid)}
        found += [f"database {n}" for n, f in self.databases.items() if n == tenant.database or f.marker in markers]
        found += [f"role {tenant.role}"] if tenant.role in self.roles else []
        found += [f"registry row {tenant.name}"] if tenant.name in self.registry else []
        found += [f"records of restores of {tenant.name}"] if tenant.uid in self.switched else []
        return tuple(sorted(set(found)))


@dataclass(frozen=True)
class ErasureEvidence:
    """What dropping a tenant did: (step, what was found and removed); `left` is what a second look found."""

    steps: tuple[tuple[str, str], ...]
    left: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """True when the second look found nothing."""
        return not self.left


RECORDED_TABLES = 256
"""All tenants have the tables of one template, far fewer than these."""


@dataclass(frozen=True)
class CensusRecord:
    """A census as a tenant's status keeps it.

    `marks`: database name → its oid, and as hexadecimal bits over `tables` which it has and which of them hold rows.
    """

    tables: tuple[str, ...]
    marks: Mapping[str, str]

    def census(self) -> Census:
        """The census again, but that a table with rows counts one. Raises ValueError for what is no record."""
        databases = {}
        for database, mark in self.marks.items():
            oid, present, filled = (int(part, base) for part, base in zip(mark.split(), (10, 16, 16), strict=True))
            bits = {name: 1 << bit for bit, name in enumerate(self.tables)}
            databases[database] = (oid, {n: int(bool(filled & b)) for n, b in bits.items() if present & b})
        return Census(databases)


@dataclass(frozen=True)
class Census:
    """The other tenants of a server: database name → (oid, tables → exact row count).

    `switches`: (oid before, oid after) of the databases that restores have put in place of others.
    """

    databases: Mapping[str, tuple[int, Mapping[str, int]]]
    switches: frozenset[tuple[int, int]] = frozenset()

    @property
    def rows(self) -> dict[str, int]:
        """Database name → rows in all of its tables."""
        return {name: sum(tables.values()) for name, (_, tables) in self.databases.items()}

    def record(self) -> CensusRecord:
        """What `harmed` needs, small enough for a status: which tables each database has, and which hold rows."""
        names = sorted({table for _, tables in self.databases.values() for table in tables})[:RECORDED_TABLES]
        marks = {}
        for database, (oid, tables) in self.databases.items():
            present = sum(1 << bit for bit, name in enumerate(names) if name in tables)
            filled = sum(1 << bit for bit, name in enumerate(names) if tables.get(name))
            marks[database] = f"{oid} {present:x} {filled:x}"
        return CensusRecord(tuple(names), marks)

    def harmed(self, after: Census) -> tuple[str, ...]:
        """What `after` lacks, as sentences: databases gone or replaced, tables gone, tables emptied.

        Customers go on working in the meantime, so a count that moves is not harm; what vanishes is. Nor is it harm
        when a restore has put another database in place: that one holds what it held then.
        """
        harm: list[str] = []
        for name, (oid, tables) in self.databases.items():
            there = after.databases.get(name)
            if there is None:
                harm.append(f"database {name} is gone")
                continue
            if there[0] != oid:
                if after.follows(oid, there[0]):
                    continue
                harm.append(f"database {name} was replaced by another of the same name")
            for table, count in tables.items():
                now = there[1].get(table)
                if now is None:
                    harm.append(f"table {table} of database {name} is gone")
                elif count and not now:
                    harm.append(f"table {table} of database {name} lost all of its rows")
        return tuple(harm)

    def follows(self, before: int, after: int) -> bool:
        """Whether restores have led from the database `before` to the database `after`."""
        reached, seen = {before}, set[int]()
        while reached - seen:
            seen |= reached
            reached = {new for old, new in self.switches if old in seen} | seen
        return after in seen


def tenant_marker(uid: str) -> str:
    """The comment that says whose database it is."""
    return f"elink tenant {uid}"


def scratch_marker(uid: str) -> str:
    """The comment of a database that a restore of this tenant fills."""
    return f"elink scratch {uid}"


def kept_marker(uid: str) -> str:
    """The comment of a database of this tenant that a restore has taken out of use."""
    return f"elink kept {uid}"


def spare_marker(revision: str) -> str:
    """The comment of a spare database: which revision of the template it was made from."""
    return f"elink spare {revision}"
