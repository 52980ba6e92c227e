"""All SQL of consents and suppressions, and the conditions that other queries are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.consent.models import ConsentEntry, ConsentState, Reason, Suppression


def has_consent(email_key: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """SQL: the newest entry of this e-mail says that consent was given."""
    return exists().where(ConsentState.email_key == email_key, ConsentState.given).correlate_except(ConsentState)


def is_suppressed(email_key: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """SQL: this e-mail gets no mail."""
    return (
        exists()
        .where(Suppression.email_key == email_key, Suppression.lifted_at.is_(None))
        .correlate_except(Suppression)
    )


class ConsentRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, entry: ConsentEntry) -> None:
        """Append an entry; the state follows it."""
        self._session.add(entry)
        await self._session.flush()
        state = insert(ConsentState).values(email_key=entry.email_key, given=entry.given, entry_id=entry.id)
        await self._session.execute(
            state.on_conflict_do_update(
                index_elements=["email_key"], set_={"given": state.excluded.given, "entry_id": state.excluded.entry_id}
            )
        )

    async def history(self, email_key: str, limit: int) -> Sequence[ConsentEntry]:
        """The entries of an e-mail, the newest first."""
        statement = select(ConsentEntry).where(ConsentEntry.email_key == email_key)
        return (await self._session.scalars(statement.order_by(ConsentEntry.id.desc()).limit(limit))).all()

    async def given(self, email_keys: Iterable[str]) -> dict[str, bool]:
        """What is on record for these e-mails; those without any entry are left out."""
        statement = select(ConsentState.email_key, ConsentState.given).where(ConsentState.email_key.in_(email_keys))
        return {key: given for key, given in (await self._session.execute(statement)).tuples()}

    async def suppress(self, row: Suppression) -> bool:
        """Put an e-mail on the list; False when it is there for this reason already."""
        statement = (
            insert(Suppression)
            .values(email_key=row.email_key, reason=row.reason, detail=row.detail, source=row.source, since=row.since)
            .on_conflict_do_nothing(index_elements=["email_key", "reason"], index_where=Suppression.lifted_at.is_(None))
            .returning(Suppression.id)
        )
        return await self._session.scalar(statement) is not None

    async def suppressed(self, email_keys: Iterable[str]) -> set[str]:
        """Those of these e-mails that get no mail."""
        statement = select(Suppression.email_key).where(
            Suppression.email_key.in_(email_keys), Suppression.lifted_at.is_(None)
        )
        return set((await self._session.scalars(statement)).all())

    async def active(self, email_key: str) -> Sequence[Suppression]:
        """Why this e-mail gets no mail."""
        statement = select(Suppression).where(Suppression.email_key == email_key, Suppression.lifted_at.is_(None))
        return (await self._session.scalars(statement.order_by(Suppression.id))).all()

    async def lift(self, suppression_id: int, now: datetime, by: str, why: str) -> Suppression | None:
        """Take an entry off the list; None when there is no such on it."""
        statement = (
            update(Suppression)
            .where(Suppression.id == suppression_id, Suppression.lifted_at.is_(None))
            .values(lifted_at=now, lifted_by=by, lifted_why=why)
            .returning(Suppression)
        )
        return (await self._session.scalars(statement)).one_or_none()

    async def get(self, suppression_id: int) -> Suppression | None:
        """One entry of the list."""
        return await self._session.get(Suppression, suppression_id)

    async def page(
        self, *, reason: Reason | None, text: str, before: tuple[datetime, int] | None, limit: int
    ) -> Sequence[Suppression]:
        """The list, the newest first, by keyset."""
        statement = select(Suppression).where(Suppression.lifted_at.is_(None))
        if reason is not None:
            statement = statement.where(Suppression.reason == reason.value)
        if text:
            statement = statement.where(Suppression.email_key.contains(text, autoescape=True))
        if before is not None:
            statement = statement.where(tuple_(Suppression.since, Suppression.id) < tuple_(*before))
        statement = statement.order_by(Suppression.since.desc(), Suppression.id.desc()).limit(limit)
        return (await self._session.scalars(statement)).all()
