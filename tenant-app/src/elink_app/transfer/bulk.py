"""Many addresses at once: a handful of statements per batch, new rows by COPY, all in the session's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import asyncpg
import orjson

from elink_app.addresses.computed import computed
from elink_app.addresses.models import Address
from elink_app.addresses.schemas import PLAIN_FIELDS, AddressInput
from elink_app.emails import email_key
from elink_app.text import search_form
from elink_app.transfer.copytext import bigint_array
from elink_app.transfer.rows import COPIED, Row, as_json

# Statistics are behind while an import fills the book: the planner would read whole tables for a batch. And the entries
# of many rows go into the index of pairs together, not of a few. Nobody waits for the disk: what a crash of the server
# takes back, it takes back with the job's cursor, which is in the same transaction.
_FOR_BATCHES = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('synchronous_commit', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
    set_config('gin_pending_list_limit', '16MB', true), set_config('work_mem', '32MB', true)
"""
_WRITTEN = (*COPIED, "updated_at")
_COLUMNS = (*_WRITTEN, "created_at", "tag_ids", "id", "version")
_LOCK = """
SELECT id FROM address WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL AND NOT tag_ids && $2::bigint[]
ORDER BY id FOR UPDATE
"""
_READ = f"""
SELECT a.id, a.version, {", ".join(f"a.{name}" for name in PLAIN_FIELDS)},
    a.attributes::text AS attributes,
    ARRAY(SELECT e.email FROM address_email e WHERE e.address_id = a.id ORDER BY e.position) AS emails,
    ARRAY(SELECT t.name FROM address_tag b JOIN tag t ON t.id = b.tag_id WHERE b.address_id = a.id ORDER BY t.name)
        AS tags
FROM address a WHERE a.id = ANY($1::bigint[])
"""  # noqa: S608 - names of our own columns
# One e-mail after the other, by the index: of a few hundred at once in a book that it takes for small, the planner
# reads the whole book.
_MATCH = """
SELECT k.email_key, min(e.address_id) AS id FROM unnest($1::text[]) AS k (email_key)
CROSS JOIN LATERAL (SELECT address_id FROM address_email WHERE email_key = k.email_key OFFSET 0) AS e
CROSS JOIN LATERAL (
    SELECT FROM address WHERE id = e.address_id AND deleted_at IS NULL AND NOT tag_ids && $2::bigint[] OFFSET 0
) AS live
GROUP BY k.email_key
"""
# The name of the sequence is looked up once, not for each row.
_IDS = """
SELECT array_agg(nextval(own.sequence)) FROM generate_series(1, $1),
    (SELECT pg_get_serial_sequence('address', 'id')::regclass AS sequence OFFSET 0) AS own
"""
_UPDATE = f"""
UPDATE address SET version = $2, {", ".join(f"{name} = ${n}" for n, name in enumerate(_WRITTEN, start=3))} WHERE id = $1
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
# One that the job changed before keeps its image.
_REMEMBER_DELETED = """
INSERT INTO bulk_change (job_id, address_id, version, deleted_at)
SELECT $1, id, version, $4 FROM unnest($2::bigint[], $3::bigint[]) AS seen (id, version)
ON CONFLICT (job_id, address_id) DO UPDATE SET version = excluded.version, deleted_at = excluded.deleted_at
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """An address with what is computed from it, ready to be written."""

    data: AddressInput
    attributes: Mapping[str, Any]
    # In the order of rows.COMPUTED.
    computed: tuple[Any, ...]
    # E-mails and tags in the forms in which they are compared, in their order.
    email_keys: tuple[str, ...]
    tag_keys: tuple[str, ...]

    @classmethod
    def of(cls, data: AddressInput, attributes: Mapping[str, Any]) -> Ready:
        """Compute what the address book searches and sorts by; `attributes` are checked ones."""
        found = tuple(computed(data, data.emails, attributes).values())
        return cls(data, attributes, found, tuple(map(email_key, data.emails)), tuple(map(search_form, data.tags)))

    @property
    def emails(self) -> list[str]:
        """E-mails of the address, in their order."""
        return self.data.emails

    @property
    def tags(self) -> list[str]:
        """Tags of the address, in their order."""
        return self.data.tags

    def written(self, now: datetime) -> tuple[Any, ...]:
        """Values in the order of _WRITTEN."""
        plain = [getattr(self.data, name) for name in PLAIN_FIELDS]
        return (*plain, *self.computed, as_json(self.attributes), now)


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


def image_of(address: Address) -> dict[str, Any]:
    """The values of an address whose parts are loaded, as `Current` has them."""
    values: dict[str, Any] = {name: getattr(address, name) for name in PLAIN_FIELDS}
    parts = {"emails": [row.email for row in address.emails], "tags": [tag.name for tag in address.tags]}
    return {**values, "attributes": dict(address.attributes), **parts}


class BulkAddresses:
    """Writes of one job in one transaction."""

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record], job_id: int, now: datetime, hidden: Sequence[int] = ()
    ) -> None:
        """`hidden`: ids of the labels whose addresses do not exist for the account that asked for the job."""
        self._connection = connection
        self._hidden = list(hidden)
        self._job_id = job_id
        self.now = now

    async def prepare(self) -> None:
        """Tell the planner what is to come, until the end of the transaction."""
        await self._connection.execute(_FOR_BATCHES)

    async def matches(self, keys: Iterable[str]) -> dict[str, int]:
        """The oldest live address with each of these e-mails, in the form in which e-mails are compared."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        return {row["email_key"]: row["id"] for row in await self._connection.fetch(_MATCH, wanted, self._hidden)}

    async def lock(self, ids: Iterable[int]) -> dict[int, Current]:
        """Those of these addresses that are live, as they are now; nobody changes them before the end."""
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        # Two statements: the second sees what those who held the rows have written.
        locked = [row["id"] for row in await self._connection.fetch(_LOCK, wanted, self._hidden)]
        found: dict[int, Current] = {}
        for row in await self._connection.fetch(_READ, locked):
            values = dict(row)
            values["attributes"] = orjson.loads(values["attributes"])
            found[row["id"]] = Current(values.pop("id"), values.pop("version"), values)
        return found

    async def insert(self, rows: Sequence[Row]) -> None:
        """Add addresses."""
        if not rows:
            return
        ids = await self._connection.fetchval(_IDS, len(rows))
        tags = await self._tag_ids(_tag_names(rows))
        borne = [sorted(_borne(row, tags)) for row in rows]
        now = self.now.isoformat()
        lines = [
            f"{row.copied}\t{now}\t{now}\t{bigint_array(found)}\t{number}\t1\n"
            for number, row, found in zip(ids, rows, borne, strict=True)
        ]
        await self._connection.copy_to_table(
            "address", source=BytesIO("".join(lines).encode()), columns=_COLUMNS, format="text"
        )
        await self._add_emails(zip(ids, rows, strict=True))
        await self._add_tags(zip(ids, borne, strict=True))
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
            [(change.current.id, change.current.version + 1, *change.ready.written(self.now)) for change in changes],
        )
        mailed = [one for one in changes if one.ready.emails != list(one.current.values["emails"])]
        await self._connection.execute(
            "DELETE FROM address_email WHERE address_id = ANY($1::bigint[])", [one.current.id for one in mailed]
        )
        await self._add_emails([(one.current.id, one.ready) for one in mailed])
        tagged = [one for one in changes if set(one.ready.tags) != set(one.current.values["tags"])]
        tags = await self._tag_ids(_tag_names([one.ready for one in tagged]))
        await self._connection.execute(
            "DELETE FROM address_tag WHERE address_id = ANY($1::bigint[])", [one.current.id for one in tagged]
        )
        await self._add_tags([(one.current.id, sorted(_borne(one.ready, tags))) for one in tagged])

    async def delete_remembered(self, rows: Sequence[Current]) -> None:
        """Delete addresses that are locked, softly and so that the job can be undone."""
        ids, versions = [row.id for row in rows], [row.version for row in rows]
        await self._connection.execute(_REMEMBER_DELETED, self._job_id, ids, versions, self.now)
        await self.delete(ids)

    async def delete(self, ids: Sequence[int]) -> None:
        """Delete softly."""
        await self._connection.execute(
            "UPDATE address SET deleted_at = $2 WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL", ids, self.now
        )

    async def _add_emails(self, rows: Iterable[tuple[int, Row | Ready]]) -> None:
        await self._connection.copy_records_to_table(
            "address_email",
            columns=("address_id", "position", "email", "email_key"),
            records=[
                (number, position, email, key)
                for number, row in rows
                for position, (email, key) in enumerate(zip(row.emails, row.email_keys, strict=True))
            ],
        )

    async def _add_tags(self, rows: Iterable[tuple[int, Sequence[int]]]) -> None:
        records = [(number, tag) for number, tags in rows for tag in tags]
        if records:
            await self._connection.copy_records_to_table(
                "address_tag", columns=("address_id", "tag_id"), records=records
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


def _tag_names(rows: Iterable[Row | Ready]) -> dict[str, str]:
    return {key: tag for row in rows for key, tag in zip(row.tag_keys, row.tags, strict=True)}


def _borne(row: Row | Ready, tags: Mapping[str, int]) -> set[int]:
    return {tags[key] for key in row.tag_keys}
