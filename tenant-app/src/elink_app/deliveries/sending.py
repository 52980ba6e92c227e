"""All SQL of sending. Whole batches in single statements; every one may be repeated after a lost answer.

`attempts` counts the claims of a row and is the fence: what a process knows of an earlier claim changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import asyncpg
import orjson
from sqlalchemy import CursorResult, Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.database.driver import driver_of
from elink_app.deliveries.models import Delivery, DkimKey, MailSecret
from elink_app.deliveries.states import DeliveryState, RecipientState, Waiting

# Longer than a mail may wait in a process (`MOST_WAIT`) and the relay then think about it (`Relay.final_timeout`).
LEASE = timedelta(minutes=15)
MOST_WAIT = timedelta(minutes=4)

# Statistics know nothing of states that come and go in seconds: the planner takes a batch for one row and compares each
# of its rows with each other (measured: 25 to 400 ms for 250 rows and not 5).
_KNOW_THE_BATCH = text("""
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_nestloop', 'off', true),
    set_config('jit', 'off', true)
""")
_TAKEN = "state = 'sending', attempts = r.attempts + 1, next_at = $3, updated_at = $2"
_HANDED_OUT = "r.id, r.attempts, r.email, r.email_key, r.slots::text"
# A row is `sending` from its claim on, before its mail is even made: a step between would write each row once more.
# Not joined with what is due: the planner read the whole delivery for each batch (11 of 15 ms with 20,000 rows).
_CLAIM = f"""
UPDATE delivery_recipient r SET {_TAKEN}
WHERE r.delivery_id = $1 AND r.id = ANY(ARRAY(
    SELECT id FROM delivery_recipient
    WHERE delivery_id = $1 AND next_at <= $2 AND state <> 'sending'
      AND EXISTS (SELECT FROM delivery WHERE id = $1 AND state = 'sending')
    ORDER BY next_at LIMIT $4 FOR UPDATE SKIP LOCKED
))
RETURNING {_HANDED_OUT}
"""  # noqa: S608 - our own words
# The same in two steps, where not every row that is due may be sent: the others are left as they were.
_DUE = text("""
SELECT id, email_key FROM delivery_recipient
WHERE delivery_id = :delivery AND next_at <= :now AND state <> 'sending'
  AND EXISTS (SELECT FROM delivery WHERE id = :delivery AND state = 'sending')
  AND split_part(email_key, '@', 2) <> ALL(CAST(:held AS text[]))
ORDER BY next_at LIMIT :count FOR UPDATE SKIP LOCKED
""")
_CLAIM_LOCKED = f"""
UPDATE delivery_recipient r SET {_TAKEN} WHERE r.delivery_id = $1 AND r.id = ANY($4::bigint[]) RETURNING {_HANDED_OUT}
"""  # noqa: S608 - our own words
# The moment tells this claim from another process's claim with the same number: only one of the two was committed.
_UNCLAIM = text("""
UPDATE delivery_recipient r SET state = 'queued', next_at = :now, updated_at = :now
FROM unnest(CAST(:ids AS bigint[]), CAST(:attempts AS integer[])) AS v (id, attempts)
WHERE r.delivery_id = :delivery AND r.id = ANY(CAST(:ids AS bigint[]))
  AND r.id = v.id AND r.attempts = v.attempts AND r.state = 'sending' AND r.updated_at = :moment
RETURNING r.id
""")
_RECORD = """
WITH done AS (
    UPDATE delivery_recipient r SET state = v.state, next_at = v.next_at, reply = v.reply, updated_at = $2
    FROM unnest($3::bigint[], $4::integer[], $5::text[], $6::timestamptz[], $7::text[])
        AS v (id, attempts, state, next_at, reply)
    WHERE r.delivery_id = $1 AND r.id = ANY($3::bigint[]) AND r.id = v.id
      AND r.attempts = v.attempts AND r.state = ANY($8::text[])
    RETURNING r.state
), counted AS (
    SELECT count(*) AS changed, count(*) FILTER (WHERE state = 'accepted') AS accepted,
           count(*) FILTER (WHERE state = 'refused') AS refused, count(*) FILTER (WHERE state = 'skipped') AS skipped,
           count(*) FILTER (WHERE state = 'unknown') AS unknown
    FROM done
)
UPDATE delivery d SET accepted = d.accepted + c.accepted, refused = d.refused + c.refused,
    skipped = d.skipped + c.skipped,
    unknown = d.unknown + c.unknown - CASE WHEN $9::boolean THEN c.changed ELSE 0 END
FROM counted c WHERE d.id = $1 RETURNING c.changed
"""
_SWEEP = text("""
WITH lost AS (
    UPDATE delivery_recipient r
    SET state = CASE WHEN d.resend_unknown THEN 'queued' ELSE 'unknown' END,
        next_at = CASE WHEN d.resend_unknown THEN CAST(:now AS timestamptz) END, updated_at = :now
    FROM delivery d
    WHERE d.id = :delivery AND r.delivery_id = d.id AND r.next_at <= :now AND r.state = 'sending'
    RETURNING r.state
)
UPDATE delivery SET unknown = unknown + (SELECT count(*) FROM lost WHERE state = 'unknown')
WHERE id = :delivery AND EXISTS (SELECT FROM lost) RETURNING (SELECT count(*) FROM lost)
""")
_DROP_CANCELLED = text("""
WITH dropped AS (
    UPDATE delivery_recipient SET state = 'skipped', reply = 'cancelled', next_at = NULL, updated_at = :now
    WHERE delivery_id = :delivery AND next_at IS NOT NULL
      AND (state IN ('queued', 'deferred') OR (state = 'claimed' AND next_at <= :now))
    RETURNING 1
)
UPDATE delivery SET skipped = skipped + (SELECT count(*) FROM dropped) WHERE id = :delivery
""")
_FINISH = text("""
UPDATE delivery d SET state = CASE WHEN d.state = 'sending' THEN 'done' ELSE d.state END, finished_at = :now,
    updated_at = :now
WHERE d.id = :delivery AND d.state IN ('sending', 'cancelled')
  AND NOT EXISTS (SELECT FROM delivery_recipient r WHERE r.delivery_id = d.id AND r.next_at IS NOT NULL)
RETURNING d.id
""")
_TAKE_ALLOWANCE = text("""
INSERT INTO mail_allowance AS a (id, tokens, filled_at, hour)
VALUES (1, :capacity, :now, date_trunc('hour', CAST(:now AS timestamptz)))
ON CONFLICT (id) DO UPDATE SET filled_at = greatest(a.filled_at, excluded.filled_at), tokens = least(
    :capacity, a.tokens + greatest(0, extract(epoch FROM excluded.filled_at - a.filled_at)) * :per_second),
    hour = greatest(a.hour, excluded.hour),
    this_hour = CASE WHEN a.hour >= excluded.hour THEN a.this_hour ELSE 0 END,
    last_hour = CASE WHEN a.hour >= excluded.hour THEN a.last_hour
        WHEN a.hour = excluded.hour - interval '1 hour' THEN a.this_hour ELSE 0 END
RETURNING tokens
""")


# Neither this nor Result is frozen: freezing makes each of them several times slower to make.
@dataclass(slots=True)
class Claimed:
    """A row in this process's hands."""

    id: int
    attempts: int
    email: str
    email_key: str
    slots: list[str]


@dataclass(slots=True)
class Result:
    """What became of a claimed row; `next_at` for the pending states only."""

    id: int
    attempts: int
    state: RecipientState
    reply: str = ""
    next_at: datetime | None = None


class Sending:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def secret(self) -> bytes:
        """The tenant's key of links and bounce addresses, made when there is none."""
        found = await self._session.get(MailSecret, 1)
        if found is None:
            new = text("INSERT INTO mail_secret (id, secret) VALUES (1, :secret) ON CONFLICT DO NOTHING")
            await self._session.execute(new, {"secret": secrets.token_bytes(32)})
            found = (await self._session.scalars(select(MailSecret))).one()
        return found.secret

    async def dkim_key(self, domain: str) -> DkimKey | None:
        """The key that signs for the domain."""
        newest = select(DkimKey).where(DkimKey.domain == domain.lower(), DkimKey.active).order_by(DkimKey.id.desc())
        return (await self._session.scalars(newest.limit(1))).one_or_none()

    async def delivery(self, delivery_id: int) -> Delivery | None:
        """The delivery with its content."""
        return await self._session.get(Delivery, delivery_id)

    async def step_waiting(self, now: datetime) -> int:
        """Move what the clock moves: scheduled and held deliveries. Returns how many moved."""
        waiting = (
            select(Delivery)
            .where(Delivery.state.in_(("scheduled", "holding")), Delivery.frozen_at.is_not(None))
            .with_for_update(skip_locked=True)
        )
        moved = 0
        for row in await self._session.scalars(waiting):
            state = DeliveryState(row.state)
            step = Waiting(state, row.scheduled_at, row.hold_until, row.quiet_from, row.quiet_until).step(now)
            if step is None:
                continue
            row.state, row.updated_at = step, now
            row.state_reason = "too_late" if step is DeliveryState.PAUSED else ""
            if step is DeliveryState.SENDING:
                row.started_at = row.started_at or now
            moved += 1
        return moved

    async def moving(self) -> Sequence[Row[int, time | None, time | None]]:
        """Deliveries that are being sent (id, quiet_from, quiet_until), the one that began first first."""
        rows = select(Delivery.id, Delivery.quiet_from, Delivery.quiet_until).where(
            Delivery.state == DeliveryState.SENDING, Delivery.frozen_at.is_not(None)
        )
        return (await self._session.execute(rows.order_by(Delivery.started_at, Delivery.id))).all()

    async def ending(self) -> Sequence[int]:
        """Cancelled deliveries whose recipients still wait."""
        rows = select(Delivery.id).where(
            Delivery.state == DeliveryState.CANCELLED, Delivery.frozen_at.is_not(None), Delivery.finished_at.is_(None)
        )
        return (await self._session.scalars(rows)).all()

    async def unfinished(self) -> Sequence[int]:
        """Deliveries in which rows may be in the hands of a process that is gone."""
        rows = select(Delivery.id).where(
            Delivery.state.in_(("sending", "paused", "cancelled")),
            Delivery.frozen_at.is_not(None),
            Delivery.finished_at.is_(None),
        )
        return (await self._session.scalars(rows)).all()

    async def is_sending(self, delivery_id: int) -> bool:
        """False when it was paused, cancelled or ended."""
        state = await self._session.scalar(select(Delivery.state).where(Delivery.id == delivery_id))
        return state == DeliveryState.SENDING

    async def claim(self, delivery_id: int, count: int, now: datetime) -> list[Claimed]:
        """Take up to `count` rows that are due; none when it is not being sent."""
        driver = await driver_of(self._session)
        return _claimed(await driver.fetch(_CLAIM, delivery_id, now, now + LEASE, count))

    async def lock_due(
        self, delivery_id: int, count: int, now: datetime, held: Collection[str]
    ) -> list[tuple[int, str]]:
        """Lock what `claim` would take, none of the domains in `held`: (id, email_key). For `claim_locked`."""
        values = {"delivery": delivery_id, "now": now, "count": count, "held": list(held)}
        return [(row[0], row[1]) for row in await self._session.execute(_DUE, values)]

    async def claim_locked(self, delivery_id: int, ids: Sequence[int], now: datetime) -> list[Claimed]:
        """Take these rows, which this transaction has locked."""
        if not ids:
            return []
        driver = await driver_of(self._session)
        return _claimed(await driver.fetch(_CLAIM_LOCKED, delivery_id, now, now + LEASE, list(ids)))

    async def unclaim(self, delivery_id: int, rows: Sequence[tuple[int, int]], moment: datetime, now: datetime) -> int:
        """Queue again what a process that is gone claimed at `moment`, as (id, attempt); returns how many."""
        values = {
            "delivery": delivery_id,
            "ids": [row[0] for row in rows],
            "attempts": [row[1] for row in rows],
            "moment": moment,
            "now": now,
        }
        return len((await self._session.scalars(_UNCLAIM, values)).all())

    async def record(self, delivery_id: int, results: Sequence[Result], now: datetime) -> int:
        """Write what became of rows; returns how many were changed. Repeating it changes nothing."""
        if not results:
            return 0
        await self._session.execute(_KNOW_THE_BATCH)
        driver = await driver_of(self._session)
        columns = (
            [one.id for one in results],
            [one.attempts for one in results],
            [one.state.value for one in results],
            [one.next_at for one in results],
            [one.reply for one in results],
        )
        changed: int = 0
        # A lease may have ended meanwhile: what was counted as unknown becomes known.
        for from_states, was_unknown in ((["claimed", "sending"], False), (["unknown"], True)):
            if changed < len(results):
                changed += await driver.fetchval(_RECORD, delivery_id, now, *columns, from_states, was_unknown) or 0
        return changed

    async def sweep(self, delivery_id: int, now: datetime) -> int:
        """Rows whose sender is gone in the middle of a mail: unknown, or queued again where the tenant wants that."""
        values = {"delivery": delivery_id, "now": now}
        return int(await self._session.scalar(_SWEEP, values) or 0)

    async def drop_cancelled(self, delivery_id: int, now: datetime) -> None:
        """What was not sent before the cancellation is skipped."""
        await self._session.execute(_DROP_CANCELLED, {"delivery": delivery_id, "now": now})

    async def finish(self, delivery_id: int, now: datetime) -> bool:
        """End the delivery when nothing is pending in it."""
        values = {"delivery": delivery_id, "now": now}
        return await self._session.scalar(_FINISH, values) is not None

    async def pause(self, delivery_id: int, reason: str, now: datetime) -> bool:
        """Stop a delivery that cannot go on without a person."""
        statement = (
            update(Delivery)
            .where(Delivery.id == delivery_id, Delivery.state == DeliveryState.SENDING)
            .values(state=DeliveryState.PAUSED, state_reason=reason, updated_at=now)
        )
        result = await self._session.execute(statement)
        assert isinstance(result, CursorResult)  # noqa: S101 - what an UPDATE gives
        return result.rowcount > 0

    async def next_due(self, delivery_id: int) -> datetime | None:
        """When the next pending row is due."""
        first = text(
            "SELECT next_at FROM delivery_recipient WHERE delivery_id = :delivery AND next_at IS NOT NULL "
            "ORDER BY next_at LIMIT 1"
        )
        due: datetime | None = await self._session.scalar(first, {"delivery": delivery_id})
        return due

    async def take_allowance(self, count: int, per_hour: int | None, now: datetime) -> int:
        """How many of `count` mails the plan allows now. They are taken; give back what is not used."""
        if per_hour is None:
            return count
        capacity = max(1.0, per_hour / 12)
        values = {"capacity": capacity, "per_second": per_hour / 3600, "now": now}
        tokens = float(await self._session.scalar(_TAKE_ALLOWANCE, values) or 0)
        granted = min(count, int(tokens)) if per_hour else 0
        await self.give_allowance(-granted)
        return granted

    async def give_allowance(self, count: int) -> None:
        """Change the tokens by `count`."""
        if count:
            statement = text("UPDATE mail_allowance SET tokens = tokens + :n, this_hour = greatest(0, this_hour - :n)")
            await self._session.execute(statement, {"n": count})


def _claimed(rows: Iterable[asyncpg.Record]) -> list[Claimed]:
    return [Claimed(row[0], row[1], row[2], row[3], _slots(row[4])) for row in rows]


def _slots(raw: str) -> list[str]:
    values = orjson.loads(raw)
    return ["" if value is None else str(value) for value in values] if isinstance(values, list) else []
