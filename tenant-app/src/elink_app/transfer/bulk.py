"""Many addresses at once: a handful of statements per batch, new rows by COPY, all in the session's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import asyncpg
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.addresses.schemas import AddressInput
from elink_app.addresses.service import search_fields
from elink_app.emails import email_key
from elink_app.text import kana_sort_key, search_form

PLAIN = ("name", "kana", "company", "phone", "postal_code", "postal_address", "notes")
_COLUMNS = (
    "id", "version", *PLAIN, "sort_key", "search_text", "search_grams", "created_at", "updated_at",
)  # fmt: skip
_LOCK = "SELECT id FROM address WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL ORDER BY id FOR UPDATE"
_READ = f"""
SELECT a.id, a.version, {", ".join(f"a.{name}" for name in PLAIN)},
    ARRAY(SELECT e.email FROM address_email e WHERE e.address_id = a.id ORDER BY e.position) AS emails,
    ARRAY(SELECT t.name FROM address_tag b JOIN tag t ON t.id = b.tag_id WHERE b.address_id = a.id ORDER BY t.name)
        AS tags
FROM address a WHERE a.id = ANY($1::bigint[])
"""  # noqa: S608 - names of our own columns
_MATCH = """
SELECT e.email_key, min(e.address_id) AS id FROM address_email e JOIN address a ON a.id = e.address_id
WHERE e.email_key = ANY($1::text[]) AND a.deleted_at IS NULL GROUP BY e.email_key
"""
_IDS = "SELECT nextval(pg_get_serial_sequence('address', 'id')) AS id FROM generate_series(1, $1)"
_UPDATE = f"""
UPDATE address SET version = $2, {", ".join(f"{name} = ${n}" for n, name in enumerate(PLAIN, start=3))},
    sort_key = $10, search_text = $11, search_grams = $12, updated_at = $13 WHERE id = $1
"""  # noqa: S608 - names of our own columns
_NEW_TAGS = """
INSERT INTO tag (name, key) SELECT name, key FROM unnest($1::text[], $2::text[]) AS wanted (name, key) ORDER BY key
ON CONFLICT (key) DO NOTHING
"""
# A second change of the same address in one job keeps the first image.
_REMEMBER = """
INSERT INTO bulk_change (job_id, address_id, before, version)
SELECT $1, id, before::jsonb, version FROM unnest($2::bigint[], $3::text[], $4::bigint[]) AS seen (id, before, version)
ON CONFLICT (job_id, address_id) DO UPDATE SET version = excluded.version
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """An address with what is computed from it, ready to be written."""

    data: AddressInput
    sort_key: str
    search_text: str
    search_grams: list[str]

    @classmethod
    def of(cls, data: AddressInput) -> Ready:
        """Compute what the address book searches and sorts by."""
        text, grams = search_fields(data)
        return cls(data, kana_sort_key(data.kana, data.name), text, grams)


@dataclass(frozen=True, slots=True)
class Current:
    """An address as it is now."""

    id: int
    version: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What an address is to become."""

    current: Current
    ready: Ready


async def driver_of(db: AsyncSession) -> asyncpg.Connection[asyncpg.Record]:
    """The driver's connection under a session whose transaction has begun."""
    raw = await (await db.connection()).get_raw_connection()
    return cast("asyncpg.Connection[asyncpg.Record]", raw.driver_connection)


class BulkAddresses:
    """Writes of one job in one transaction."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], job_id: int, now: datetime) -> None:
        self._connection = connection
        self._job_id = job_id
        self._now = now

    async def matches(self, keys: Iterable[str]) -> dict[str, int]:
        """The oldest live address with each of these e-mails, in the form in which e-mails are compared."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        return {row["email_key"]: row["id"] for row in await self._connection.fetch(_MATCH, wanted)}

    async def lock(self, ids: Iterable[int]) -> dict[int, Current]:
        """Those of these addresses that are live, as they are now; nobody changes them before the end."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        # Two statements: the second sees what those who held the rows have written.
        locked = [row["id"] for row in await self._connection.fetch(_LOCK, wanted)]
        found: dict[int, Current] = {}
        for row in await self._connection.fetch(_READ, locked):
            values = dict(row)
            found[row["id"]] = Current(values.pop("id"), values.pop("version"), values)
        return found

    async def insert(self, rows: Sequence[Ready]) -> None:
        """Add addresses."""
        if not rows:
            return
        ids = [row["id"] for row in await self._connection.fetch(_IDS, len(rows))]
        await self._connection.copy_records_to_table(
            "address",
            columns=_COLUMNS,
            records=[
                (
                    number, 1, *(getattr(row.data, name) for name in PLAIN), row.sort_key, row.search_text,
                    row.search_grams, self._now, self._now,
                )
                for number, row in zip(ids, rows, strict=True)
            ],
        )  # fmt: skip
        await self._add_parts(list(zip(ids, (row.data for row in rows), strict=True)))
        await self._connection.copy_records_to_table(
            "bulk_change", columns=("job_id", "address_id"), records=[(self._job_id, number) for number in ids]
        )

    async def change(self, changes: Sequence[Change], *, remember: bool = True) -> None:
        """Replace all fields of addresses that are locked; `remember` keeps what they were."""
        if not changes:
            return
        ids = [change.current.id for change in changes]
        if remember:
            images = [orjson.dumps(dict(change.current.values)).decode() for change in changes]
            versions = [change.current.version + 1 for change in changes]
            await self._connection.execute(_REMEMBER, self._job_id, ids, images, versions)
        await self._connection.executemany(
            _UPDATE,
            [
                (
                    change.current.id, change.current.version + 1,
                    *(getattr(change.ready.data, name) for name in PLAIN),
                    change.ready.sort_key, change.ready.search_text, change.ready.search_grams, self._now,
                )
                for change in changes
            ],
        )  # fmt: skip
        await self._connection.execute("DELETE FROM address_email WHERE address_id = ANY($1::bigint[])", ids)
        await self._connection.execute("DELETE FROM address_tag WHERE address_id = ANY($1::bigint[])", ids)
        await self._add_parts([(change.current.id, change.ready.data) for change in changes])

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete softly."""
        await self._connection.execute(
            "UPDATE address SET deleted_at = $2 WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL", ids, self._now
        )

    async def _add_parts(self, rows: Sequence[tuple[int, AddressInput]]) -> None:
        await self._connection.copy_records_to_table(
            "address_email",
            columns=("address_id", "position", "email", "email_key"),
            records=[
                (number, position, email, email_key(email))
                for number, data in rows
                for position, email in enumerate(data.emails)
            ],
        )
        tags = await self._tag_ids({search_form(tag): tag for _, data in rows for tag in data.tags})
        if tags:
            await self._connection.copy_records_to_table(
                "address_tag",
                columns=("address_id", "tag_id"),
                records=[(number, tags[search_form(tag)]) for number, data in rows for tag in data.tags],
            )

    async def _tag_ids(self, names: Mapping[str, str]) -> dict[str, int]:
        if not names:
            return {}
        keys = sorted(names)
        known = "SELECT key, id FROM tag WHERE key = ANY($1::text[])"
        found = {row["key"]: row["id"] for row in await self._connection.fetch(known, keys)}
        new = [key for key in keys if key not in found]
        if new:
            await self._connection.execute(_NEW_TAGS, [names[key] for key in new], new)
            found |= {row["key"]: row["id"] for row in await self._connection.fetch(known, new)}
        return found
