"""Counting the neighbours of a tenant, before and after something is removed from their server."""

from __future__ import annotations

import asyncio

from elink_operator.database.errors import DatabaseError
from elink_operator.database.model import Census, Snapshot, kept_marker, scratch_marker, tenant_marker
from elink_operator.database.sessions import Sessions
from elink_operator.database.snapshot import read_snapshot
from elink_operator.database.sql import ident, literal
from elink_operator.database.switches import read_switches

_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"


async def take_census(sessions: Sessions, without: str) -> Census:
    """Exact row counts of every table of every tenant database but `without` (its exact name).

    A database that lets nobody in is being dropped: it is left out, and so counts as gone. Raises `DatabaseError`
    when one neighbour cannot be counted, or is just being exchanged by a restore: what is not known must not pass for
    unharmed. The databases that restores fill or keep are nobody's data in use and are not counted.
    """
    snapshot = await read_snapshot(sessions)
    _no_exchange(snapshot, without)
    neighbours = {
        name: fact.oid
        for name, fact in snapshot.databases.items()
        if name != without and fact.open and fact.marker.startswith(tenant_marker(""))
    }
    counts = await asyncio.gather(*(_count(sessions, name) for name in neighbours), return_exceptions=True)
    counted, failed = {}, {}
    for (name, oid), tables in zip(neighbours.items(), counts, strict=True):
        if isinstance(tables, DatabaseError):
            failed[name] = tables
        elif isinstance(tables, BaseException):
            raise tables
        else:
            counted[name] = (oid, tables)
    if failed:
        await _only_dropped_ones(sessions, failed)
    # Read last: a switch is recorded before it is made, so one that the counting met is among them.
    switches = await read_switches(sessions)
    if {oid for oid, _ in counted.values()} & {before for before, _ in switches}:
        snapshot = await read_snapshot(sessions)
        for name, (oid, _) in counted.items():
            fact = snapshot.databases.get(name)
            if fact is not None and fact.oid != oid:
                raise DatabaseError(f"neighbour {name} was exchanged by a restore while it was counted; it is retried")
    return Census(counted, switches)


def _no_exchange(snapshot: Snapshot, without: str) -> None:
    """Raise when a closed neighbour has a database of a restore beside it: it is exchanged and not dropped.

    An erasure removes those of a restore first.
    """
    markers = {fact.marker for fact in snapshot.databases.values()}
    for name, fact in snapshot.databases.items():
        if name == without or fact.open or not fact.marker.startswith(tenant_marker("")):
            continue
        uid = fact.marker.removeprefix(tenant_marker(""))
        if {scratch_marker(uid), kept_marker(uid)} & markers:
            raise DatabaseError(f"neighbour {name} is being exchanged by a restore; it is counted afterwards")


async def _only_dropped_ones(sessions: Sessions, failed: dict[str, DatabaseError]) -> None:
    """Raise unless each of these is being dropped meanwhile: erasures side by side cut each other's counting."""
    snapshot = await read_snapshot(sessions)
    _no_exchange(snapshot, "")
    for name, error in failed.items():
        fact = snapshot.databases.get(name)
        if fact is not None and fact.open:
            raise error


async def _count(sessions: Sessions, database: str) -> dict[str, int]:
    try:
        async with sessions.into(database) as connection:
            tables = [str(row[0]) for row in await connection.fetch(_TABLES)]
            if not tables:
                return {}
            counts = (f"SELECT {literal(t)}::text, count(*) FROM public.{ident(t)}" for t in tables)  # noqa: S608
            return {str(table): int(rows) for table, rows in await connection.fetch(" UNION ALL ".join(counts))}
    except DatabaseError as error:
        raise type(error)(f"neighbour {database} cannot be counted: {error}") from error
