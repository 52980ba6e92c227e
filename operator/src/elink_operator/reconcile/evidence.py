"""What was removed, place by place, from what the stores answered. Pure."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from elink_operator import labels, naming
from elink_operator.api import ElinkTenant
from elink_operator.api.erasure import Remaining
from elink_operator.api.tenant import ErasedStore
from elink_operator.database import Residue, TenantDb
from elink_operator.objectstore import Erased

_GENERATIONS_LISTED: Final = 150
_OVERWRITTEN: Final = "until it is written over"
_LISTED: Final = 10


def removed(store: str, name: str, was_there: bool) -> ErasedStore:
    """An object that was asked to go and is gone."""
    return ErasedStore(store=store, name=name, removed="removed" if was_there else "was not there (any more)")


def dropped(tenant: TenantDb, steps: Sequence[tuple[str, str]]) -> tuple[ErasedStore, ...]:
    """Registry row, database and role, from what PostgreSQL answered."""
    names = {"RegistryRow": tenant.name, "Database": tenant.database, "Role": tenant.role}
    found = [ErasedStore(store=step, name=names.get(step, ""), removed=text[:1024]) for step, text in steps]
    if not any(store.store == "Database" for store in found):
        found.append(removed("Database", tenant.database, was_there=False))
    return tuple(found)


_RESIDUE: Final = (
    ("DeadRows", "registry", "registry", ""),
    (
        "DeadRows",
        "catalogs",
        "catalogs",
        "names of the tenant's database and role in free space of PostgreSQL's catalogs",
    ),
    ("WriteAheadLog", "pg_wal", "log", "rows of the tenant's database in PostgreSQL's write-ahead log"),
)
"""Place, its name, the field of `Residue`, and what remains where the operator may not clear it."""


def cleared(residue: Residue) -> tuple[ErasedStore, ...]:
    """What was got rid of beyond database and rows."""
    found = ((store, name, getattr(residue, field)) for store, name, field, _ in _RESIDUE)
    return tuple(ErasedStore(store=store, name=name, removed=text) for store, name, text in found if text)


def uncleared(stores: Collection[tuple[str, str]]) -> tuple[Remaining, ...]:
    """What remains on a PostgreSQL whose residue was cleared at these places (kind and name) only.

    Autovacuum notes samples of names in the catalogs, which all databases share, in whichever database it is at work;
    only a superuser could take them out. A queue of notifications is a file of 256 KiB, and gone when the next is full.
    """
    return (
        *(
            Remaining(
                what=f"{what}: the operator lacks the rights, see docs/external-postgresql.md", until=_OVERWRITTEN
            )
            for store, name, _, what in _RESIDUE
            if what and (store, name) not in stores
        ),
        Remaining(
            what="perhaps the names of the tenant's database and role, in planner statistics of PostgreSQL's catalogs",
            until="until its catalogs are analysed again",
        ),
        Remaining(
            what="perhaps the tenant's name, in PostgreSQL's queue of notifications",
            until="until 256 KiB later, or a restart of it",
        ),
    )


def left_servers(tenant: ElinkTenant) -> list[str]:
    """Servers from which a move removed the tenant, also one that failed half-way; oldest first."""
    return [name for name in tenant.metadata.annotations.get(labels.LEFT, "").split(",") if name]


def left_behind(tenant: ElinkTenant, servers: Collection[str]) -> tuple[Remaining, ...]:
    """What remains where the tenant lived before, on those of the `servers` that it left: others are gone whole."""
    left = [server for server in left_servers(tenant) if server in servers]
    if not left:
        return ()
    return (
        Remaining(
            what=f"of the time before it moved away from {_some(left)}: perhaps names in planner statistics there;"
            " where the operator lacks the rights (docs/external-postgresql.md) also rows in the write-ahead log",
            until=_OVERWRITTEN,
        ),
    )


def copies_of(tenant: ElinkTenant, others: Iterable[ElinkTenant]) -> tuple[Remaining, ...]:
    """Tenants that a restore made of this one's data: they are tenants like any other, and are not erased with it."""
    born = tenant.metadata.creation_timestamp
    found = sorted(
        other.name
        for other in others
        if other.metadata.annotations.get(labels.RESTORED_FROM) == tenant.name
        # One that is older is the copy of another tenant that had the name.
        and (born is None or other.metadata.creation_timestamp is None or other.metadata.creation_timestamp >= born)
    )
    if not found:
        return ()
    return (
        Remaining(
            what=f"copies of its data that restores have made other tenants of: {_some(found)}",
            until="until these are erased themselves",
        ),
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def erased_files(
    tenant: str, report: str | None, journals: str | None, *, backups: bool = True
) -> tuple[ErasedStore, ...]:
    """Directory, each backup generation and journal lines, from the reports of the erase Job's containers."""
    facts, lines = _facts(report), _facts(journals)
    counts = facts.get("removed") if isinstance(facts.get("removed"), dict) else {}
    listed = facts.get("generations")
    generations = [_text(item) for item in listed] if isinstance(listed, list) else []
    folder = naming.short_id(tenant)
    stores = [
        ErasedStore(
            store="Directory", name=naming.tenant_directory(tenant), removed=_count(counts, "directory", "files")
        ),
        *(
            ErasedStore(store="Directory", name=f"{naming.FILES_MOUNT}/{naming.TENANTS_FOLDER}/{beside}", removed=text)
            for beside, text in _beside(folder, counts)
        ),
    ]
    if backups:
        stores.append(ErasedStore(store="BackupStore", name=folder, removed=_count(counts, "backups", "files")))
        stores.extend(_generations(generations))
    stores.append(
        ErasedStore(store="DeliveryJournals", name="journals", removed=_count(lines, "lines", "lines of the tenant"))
    )
    return tuple(stores)


def erased_bucket(bucket: str, erased: Erased, *, account: bool) -> tuple[ErasedStore, ...]:
    """Each backup generation, the bucket and its account, from what the object store answered."""
    what = f"{erased.objects} objects, {erased.bytes} bytes and {erased.uploads} unfinished uploads removed"
    stores = [
        ErasedStore(store="BackupBucket", name=bucket, removed=what if erased.existed else "was not there (any more)"),
        *_generations([name[:8] for name in erased.snapshots]),
    ]
    if account:
        stores.append(removed("BackupAccount", bucket, was_there=True))
    return tuple(stores)


def forgotten(place: str, report: str | None, uid: str) -> ErasedStore:
    """What the copies of the server's own data held of the tenant, from the report of the Job that took it out."""
    facts = _facts(report)
    lines = _count(facts.get("lines"), uid, "rows and journal lines of the tenant")
    rewritten = facts.get("rewritten")
    how = f", {rewritten} generations written again without them" if isinstance(rewritten, int) else ""
    unreadable = facts.get("unreadable")
    how += f", {unreadable} that nobody could read removed" if isinstance(unreadable, int) and unreadable else ""
    return ErasedStore(store="ServerBackups", name=place, removed=lines + how)


def _generations(names: Sequence[str]) -> list[ErasedStore]:
    listed = [
        ErasedStore(store="BackupGeneration", name=name[:253], removed="removed from the store")
        for name in names[:_GENERATIONS_LISTED]
    ]
    if len(names) > _GENERATIONS_LISTED:
        rest = f"{len(names) - _GENERATIONS_LISTED} more generations removed from the store"
        listed.append(ErasedStore(store="BackupGeneration", name="further ones", removed=rest))
    return listed


def with_the_server(
    tenant: ElinkTenant, namespace: str, *, external: bool, backups: bool = True
) -> tuple[ErasedStore, ...]:
    """What went with a dedicated server: its namespace and volumes are gone, and this was on them (`backups`: too)."""
    database = naming.tenant_database(tenant.name)
    on_volumes = [
        ("Directory", naming.tenant_directory(tenant.name)),
        ("DeliveryJournals", "journals"),
    ]
    if backups:
        on_volumes.append(("BackupStore", naming.tenant_backup_folder(tenant.name)))
    if not external:
        on_volumes += [("Database", database), ("Role", naming.tenant_role(tenant.name)), ("RegistryRow", tenant.name)]
    generations = tenant.status.backup.generations
    return (
        removed("Server", tenant.name, was_there=True),
        removed("Namespace", namespace, was_there=True),
        *(ErasedStore(store=store, name=name, removed="gone with the server's volume") for store, name in on_volumes),
        *(
            [
                ErasedStore(
                    store="BackupGeneration",
                    name="all",
                    removed=f"{generations} generations gone with the server's volume",
                )
            ]
            if backups
            else []
        ),
    )


def _facts(report: str | None) -> dict[str, Any]:
    try:
        found = json.loads(report or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(facts: Any, key: str, what: str) -> str:
    number = facts.get(key) if isinstance(facts, dict) else None
    return f"{number} {what} removed" if isinstance(number, int) else f"{what} removed"


def _beside(folder: str, counts: Any) -> list[tuple[str, str]]:
    """What restores had left beside the directory (hack/images/backup/elink_backup/folders.py), where there was any."""
    names = {"restored": f".restore-{folder}", "kept": f".kept-{folder}", "gone": f".gone-{folder}"}
    return [
        (name, _count(counts, key, "files"))
        for key, name in names.items()
        if isinstance(counts, dict) and counts.get(key)
    ]


def _text(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, sort_keys=True)
