"""`address_standing` says of every address what is recorded about its first e-mail, whatever changed."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import asyncpg
import pytest
from elink_app.clock import utc_now
from elink_app.worker.housekeeping import Housekeeper

from tests.tenant_app.support import World

pytestmark = pytest.mark.postgres

ADDRESSES = """
INSERT INTO address (id, name, sort_key, search_text, search_grams)
SELECT n, 'n', 'n', 'n', '{}' FROM generate_series(1, 6) AS n
"""
EMAIL = "INSERT INTO address_email (address_id, position, email, email_key) VALUES ($1, 0, $2, $2)"
# $1: an address, $2: an e-mail. Two addresses may bear one e-mail.
CHANGES = (
    "WITH gone AS (DELETE FROM address_email WHERE address_id = $1) SELECT $2::text",
    "INSERT INTO address_email (address_id, position, email, email_key) SELECT $1, 0, $2, $2 "
    "FROM address WHERE id = $1 AND NOT EXISTS (SELECT FROM address_email WHERE address_id = $1)",
    "INSERT INTO address_email (address_id, position, email, email_key) SELECT $1, 1, $2, $2 "
    "FROM address WHERE id = $1 AND NOT EXISTS (SELECT FROM address_email WHERE address_id = $1 AND position = 1)",
    "UPDATE address_email SET email = $2, email_key = $2 WHERE address_id = $1 AND position = 0",
    "INSERT INTO consent (email_key, kind, at) SELECT $2, 'given', now() WHERE $1 > 0",
    "INSERT INTO consent (email_key, kind, at) SELECT $2, 'withdrawn', now() WHERE $1 > 0",
    "INSERT INTO consent (email_key, kind, at, retracts) SELECT email_key, 'retracted', now(), consent_id "
    "FROM consent_current WHERE email_key = $2 AND $1 > 0",
    "INSERT INTO suppression (email_key, reason) SELECT $2, 'bounced' WHERE $1 > 0 ON CONFLICT DO NOTHING",
    "UPDATE suppression SET lifted_at = now() WHERE email_key = $2 AND $1 > 0",
    "DELETE FROM suppression WHERE email_key = $2 AND $1 > 0",
    "WITH gone AS (DELETE FROM address WHERE id = $1) SELECT $2::text",
)
TRUTH = """
SELECT e.address_id, c.kind AS consent, EXISTS (
    SELECT FROM suppression s WHERE s.email_key = e.email_key AND s.lifted_at IS NULL
) AS suppressed FROM address_email e LEFT JOIN consent_current c USING (email_key) WHERE e.position = 0
"""
KEPT = "SELECT address_id, consent, suppressed FROM address_standing"

Standing = dict[int, tuple[str | None, bool]]


async def standing(inside: asyncpg.Connection, statement: str) -> Standing:
    rows = await inside.fetch(statement)
    return {row[0]: (row[1], row[2]) for row in rows if row[1] is not None or row[2]}


async def test_it_follows_every_change(world: World) -> None:
    tenant = await world.tenant()
    random = Random(5)
    seen: set[tuple[str | None, bool]] = set()
    async with world.server.inside(tenant.database) as inside:
        for _ in range(8):
            await inside.execute("DELETE FROM address")
            await inside.execute(ADDRESSES)
            for _ in range(60):
                change = random.choices(CHANGES, [2, 8, 2, 4, 4, 2, 2, 4, 2, 1, 1])[0]
                await inside.execute(change, random.randint(1, 6), f"{random.choice('abc')}@example.jp")
                kept = await standing(inside, KEPT)
                assert kept == await standing(inside, TRUTH), change
                seen.update(kept.values())
    assert seen >= {("given", False), ("withdrawn", False), (None, True), ("given", True)}


async def test_what_two_transactions_leave_behind_is_put_right(world: World) -> None:
    """One gives an address an e-mail, the other records something about it, and neither sees the other."""
    tenant = await world.tenant()
    known = world.parts.directory.get(tenant.name)
    assert known is not None
    parts = world.parts
    keeper = Housekeeper(parts.databases, parts.metrics, utc_now, parts.session_policy, timedelta(days=7))
    async with world.server.inside(tenant.database) as one, world.server.inside(tenant.database) as other:
        await one.execute(ADDRESSES)
        async with one.transaction():
            await one.execute(EMAIL, 1, "a@example.jp")
            await other.execute("INSERT INTO suppression (email_key, reason) VALUES ('a@example.jp', 'unsubscribed')")
        assert await standing(one, KEPT) == {}, "nothing to put right: this test shows nothing any more"
        await keeper.clean(known)
        assert await standing(one, KEPT) == {1: (None, True)}
