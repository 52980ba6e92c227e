"""All SQL of utility programs that is not a batch of addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import Address, AddressEmail, Tag
from elink_app.addresses.visibility import visible
from elink_app.consent.models import Suppression
from elink_app.consent.repository import HOLDS, ConsentRepository, within_sight
from elink_app.jobs.models import Job
from elink_app.jobs.repository import OPEN, is_being_undone
from elink_app.utilities.models import UtilityRun, UtilitySuppression

_BLOCKED = "blocked"


class UtilityRepository:
    """Reads and writes within one transaction, for one account: what it may not see is not there."""

    def __init__(self, session: AsyncSession, principal: Principal) -> None:
        self._session = session
        self._visible = visible(principal)
        self._principal = principal

    async def add(self, run: UtilityRun) -> None:
        """Insert a run."""
        self._session.add(run)
        await self._session.flush()

    async def get(self, run_id: int, *, lock: bool = False) -> UtilityRun | None:
        """One run; `lock` holds it until the end of the transaction."""
        statement = select(UtilityRun).where(UtilityRun.id == run_id)
        return (await self._session.scalars(statement.with_for_update() if lock else statement)).one_or_none()

    async def newest(self, account_id: int | None, limit: int) -> Sequence[UtilityRun]:
        """The newest ones; of one account only unless `account_id` is None."""
        statement = select(UtilityRun).order_by(UtilityRun.id.desc()).limit(limit)
        if account_id is not None:
            statement = statement.where(UtilityRun.account_id == account_id)
        return (await self._session.scalars(statement)).all()

    async def jobs(self, ids: Sequence[int]) -> dict[int, Job]:
        """Those of these jobs that are still kept."""
        return {job.id: job for job in (await self._session.scalars(select(Job).where(Job.id.in_(ids)))).all()}

    async def tag_ids(self, keys: Sequence[str]) -> dict[str, int]:
        """Ids of tags by the form in which names are compared."""
        rows = await self._session.execute(select(Tag.key, Tag.id).where(Tag.key.in_(keys)))
        return {row.key: row.id for row in rows}

    async def count(self, condition: ColumnElement[bool]) -> int:
        """Exactly how many visible addresses fulfil the condition."""
        statement = select(func.count()).select_from(Address).where(*self._live(), condition)
        return await self._session.scalar(statement) or 0

    async def first(self, condition: ColumnElement[bool], limit: int) -> Sequence[Address]:
        """The first of them by id."""
        statement = select(Address).where(*self._live(), condition).order_by(Address.id).limit(limit)
        statement = statement.options(selectinload(Address.emails), selectinload(Address.tags))
        return (await self._session.scalars(statement)).all()

    async def hold(self, condition: ColumnElement[bool], after: int, limit: int) -> list[int]:
        """Ids of the next of them, held: PostgreSQL looks at a row again that somebody else had."""
        statement = select(Address.id).where(*self._live(), condition, Address.id > after)
        statement = statement.order_by(Address.id).limit(limit).with_for_update(of=Address)
        return list((await self._session.scalars(statement)).all())

    async def usable_emails(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that are not blocked, as far as the account may know: hidden ones are like unknown ones."""
        blocked = select(Suppression.email_key).where(
            Suppression.email_key.in_(keys), HOLDS, Suppression.reason == _BLOCKED,
            within_sight(self._principal, self._principal.email),
        )  # fmt: skip
        gone = set((await self._session.scalars(blocked)).all())
        return [key for key in dict.fromkeys(keys) if key not in gone]

    async def emails_of(self, address_ids: Sequence[int]) -> list[str]:
        """The e-mail keys that these addresses bear."""
        statement = select(AddressEmail.email_key).where(AddressEmail.address_id.in_(address_ids)).distinct()
        return sorted((await self._session.scalars(statement)).all())

    async def suppress(self, job_id: int, keys: Sequence[str], detail: str, source: str, now: datetime) -> int:
        """Block e-mails and keep which entries are new; returns how many."""
        consents = ConsentRepository(self._session)
        await consents.cover(self._principal, source, keys, _BLOCKED, now)
        rows = [
            {"email_key": key, "reason": _BLOCKED, "detail": detail, "source": source[:300], "since": now}
            for key in sorted(set(keys))
        ]
        made = await consents.suppress_ids(rows) if rows else []
        if made:
            values = [{"job_id": job_id, "suppression_id": one} for one in made]
            await self._session.execute(insert(UtilitySuppression).on_conflict_do_nothing(), values)
        return len(made)

    async def suppressions(self, job_id: int, after: int, limit: int) -> list[int]:
        """The next entries that a job added, by id."""
        statement = select(UtilitySuppression.suppression_id).where(
            UtilitySuppression.job_id == job_id, UtilitySuppression.suppression_id > after
        )
        return list((await self._session.scalars(statement.order_by("suppression_id").limit(limit))).all())

    async def lift(self, ids: Sequence[int], by: str, why: str, now: datetime) -> int:
        """End those that still hold; one that was lifted stays as it was. Returns how many ended."""
        statement = (
            update(Suppression)
            .where(Suppression.id.in_(ids), HOLDS)
            .values(lifted_at=now, lifted_by=by, lifted_why=why)
            .returning(Suppression.email_key)
            .execution_options(synchronize_session=False)
        )
        keys = (await self._session.scalars(statement)).all()
        await ConsentRepository(self._session).uncover(keys, _BLOCKED)
        return len(keys)

    def _live(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return Address.deleted_at.is_(None), self._visible


async def purge_utilities(session: AsyncSession, before: datetime) -> int:
    """When undoing is over: trials that were never run go, and of runs the lists and values; the log stays."""
    trials = delete(UtilityRun).where(UtilityRun.job_id.is_(None), UtilityRun.created_at < before)
    gone = len((await session.execute(trials.returning(UtilityRun.id))).all())
    held = or_(UtilityRun.request.has_key("emails"), UtilityRun.request.has_key("value"))
    # Of a tenant that was suspended, work may wait for longer than that. Without its list or value a program would be
    # another one: it would take all e-mails, and clear the field.
    waits = select(Job.id).where(Job.id == UtilityRun.job_id, Job.state.in_(OPEN)).exists()
    over = (
        update(UtilityRun)
        # One that was stopped has no end; undoing needs neither.
        .where(func.coalesce(UtilityRun.finished_at, UtilityRun.started_at) < before, held, ~waits)
        .values(request=UtilityRun.request.op("-")("emails").op("-")("value"))
    )
    statement = over.returning(UtilityRun.id).execution_options(synchronize_session=False)
    gone += len((await session.execute(statement)).all())
    finished = select(Job.id).where(Job.finished_at < before, ~is_being_undone())
    await session.execute(delete(UtilitySuppression).where(UtilitySuppression.job_id.in_(finished)))
    return gone
