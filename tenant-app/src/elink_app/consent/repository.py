"""All SQL of consent and suppression."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from elink_app.accounts.permissions import Principal
from elink_app.addresses.models import AddressEmail
from elink_app.addresses.visibility import email_visible
from elink_app.consent.models import COVERED_BY, COVERED_WHY, Consent, ConsentCurrent, Suppression
from elink_app.utilities.models import UtilitySuppression

ACTIVE = Suppression.lifted_at.is_(None)


def _covered(row: Any = Suppression) -> ColumnElement[bool]:
    found: ColumnElement[bool] = and_(row.lifted_by == COVERED_BY, row.lifted_why == COVERED_WHY)
    return found


HOLDS = or_(ACTIVE, _covered())

# One array, not hundreds of parameters: a statement of the sender's busiest loop. The last of two reasons counts.
# Nothing on record where a line was taken back: the consent that an audience was frozen with was a mistake.
_UNWANTED = text("""
SELECT email_key, 'no_consent' FROM consent_current
WHERE CAST(:adverts AS boolean) AND email_key = ANY(CAST(:keys AS text[])) AND kind = 'withdrawn'
UNION ALL
SELECT email_key, 'no_consent' FROM consent
WHERE CAST(:adverts AS boolean) AND email_key = ANY(CAST(:keys AS text[])) AND kind = 'retracted'
    AND NOT EXISTS (SELECT FROM consent_current WHERE consent_current.email_key = consent.email_key)
UNION ALL
SELECT email_key, 'suppressed' FROM suppression WHERE email_key = ANY(CAST(:keys AS text[])) AND lifted_at IS NULL
""")


def within_sight(principal: Principal, actor: str) -> ColumnElement[bool]:
    """What the account itself recorded it sees, or blocking an e-mail would tell whether hidden addresses bear it."""
    if principal.is_master:
        return true()
    return or_(email_visible(principal, Suppression.email_key), Suppression.source == actor)


class ConsentRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def current(self, email_keys: Sequence[str]) -> dict[str, str]:
        """given or withdrawn by e-mail key; keys without any line are missing."""
        statement = select(ConsentCurrent.email_key, ConsentCurrent.kind).where(
            ConsentCurrent.email_key.in_(email_keys)
        )
        return {row[0]: row[1] for row in (await self._session.execute(statement)).all()}

    async def given_after(self, email_key: str, moment: datetime) -> bool:
        """True when consent counts now and was given after `moment`."""
        statement = select(ConsentCurrent.email_key).where(
            ConsentCurrent.email_key == email_key, ConsentCurrent.kind == "given", ConsentCurrent.at > moment
        )
        return await self._session.scalar(statement) is not None

    async def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Add lines to the ledger."""
        await self._session.execute(insert(Consent), list(lines))

    async def standing_lines(
        self, principal: Principal, job_id: int, after: int, size: int
    ) -> list[tuple[int, str, bool]]:
        """Lines of a job that nobody took back, from id `after` on: id, e-mail, whether no hidden address bears it."""
        back = aliased(Consent)
        # Undoing has given addresses their e-mails back: those that the job had brought are nobody's now.
        borne = select(AddressEmail.address_id).where(AddressEmail.email_key == Consent.email_key).exists()
        reached = or_(email_visible(principal, Consent.email_key), ~borne)
        statement = select(Consent.id, Consent.email_key, reached).where(
            Consent.job_id == job_id, Consent.id > after, ~select(back.id).where(back.retracts == Consent.id).exists()
        )
        found = await self._session.execute(statement.order_by(Consent.id).limit(size))
        return [(row[0], row[1], row[2]) for row in found.all()]

    async def ledger(self, email_key: str, limit: int) -> Sequence[Consent]:
        """The lines of one e-mail, the newest first."""
        statement = select(Consent).where(Consent.email_key == email_key).order_by(Consent.id.desc()).limit(limit)
        return (await self._session.scalars(statement)).all()

    async def suppressed(self, email_keys: Sequence[str]) -> set[str]:
        """Those of `email_keys` that get no mail."""
        statement = select(Suppression.email_key).where(Suppression.email_key.in_(email_keys), ACTIVE)
        return set((await self._session.scalars(statement)).all())

    async def unwanted(self, email_keys: Sequence[str], *, adverts: bool) -> dict[str, str]:
        """Those of `email_keys` that get no mail, and why: suppressed, or (adverts only) no_consent."""
        rows = await self._session.execute(_UNWANTED, {"keys": list(email_keys), "adverts": adverts})
        return {row[0]: row[1] for row in rows}

    async def suppress(self, rows: Sequence[dict[str, Any]]) -> int:
        """Add reasons; one that holds already stays as it is. Returns how many are new."""
        return len(await self.suppress_ids(rows))

    async def suppress_ids(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        """The same; returns the ids of the new ones."""
        statement = insert(Suppression).on_conflict_do_nothing(
            index_elements=["email_key", "reason"], index_where=text("lifted_at IS NULL")
        )
        return list((await self._session.scalars(statement.returning(Suppression.id), list(rows))).all())

    async def cover(
        self, principal: Principal, actor: str, email_keys: Sequence[str], reason: str, now: datetime
    ) -> None:
        """Make room for an entry of the account's own where others' hold of which it may not know."""
        mine = aliased(Suppression)
        own = select(mine.id).where(
            mine.email_key == Suppression.email_key, mine.reason == reason, mine.source == actor, _covered(mine)
        )
        await self._session.execute(
            update(Suppression)
            .where(
                Suppression.email_key.in_(email_keys), Suppression.reason == reason, ACTIVE,
                ~within_sight(principal, actor), ~own.exists(),
            )
            .values(lifted_at=now, lifted_by=COVERED_BY, lifted_why=COVERED_WHY)
            .execution_options(synchronize_session=False)
        )  # fmt: skip

    async def uncover(self, email_keys: Sequence[str], reason: str) -> None:
        """Where no entry stands for the reason any more, the newest of those that hold comes forward."""
        other = aliased(Suppression)
        same = (other.email_key == Suppression.email_key, other.reason == reason)
        active = select(other.id).where(*same, other.lifted_at.is_(None))
        newest = select(func.max(other.id)).where(*same, _covered(other))
        await self._session.execute(
            update(Suppression)
            .where(
                Suppression.email_key.in_(email_keys), Suppression.reason == reason, ~active.exists(),
                Suppression.id == newest.scalar_subquery(),
            )
            .values(lifted_at=None, lifted_by="", lifted_why="")
            .execution_options(synchronize_session=False)
        )  # fmt: skip

    async def stand_alone(self, email_key: str, reason: str) -> bool:
        """Somebody asks for what a utility program added: undoing the program lifts it no more. False when none did."""
        held = select(Suppression.id).where(Suppression.email_key == email_key, Suppression.reason == reason, ACTIVE)
        statement = delete(UtilitySuppression).where(UtilitySuppression.suppression_id.in_(held))
        found = await self._session.execute(statement.returning(UtilitySuppression.suppression_id))
        return found.first() is not None

    async def suppressions_of(self, email_key: str, limit: int) -> Sequence[Suppression]:
        """The reasons of one e-mail, lifted ones too, the newest first."""
        statement = select(Suppression).where(Suppression.email_key == email_key)
        statement = statement.order_by(Suppression.id.desc()).limit(limit).execution_options(populate_existing=True)
        return (await self._session.scalars(statement)).all()

    async def page(
        self, principal: Principal, actor: str, *, reason: str, part: str, before: int | None, size: int
    ) -> Sequence[Suppression]:
        """Reasons that hold and the account may see, the newest first, with `part` anywhere in the e-mail."""
        conditions: list[ColumnElement[bool]] = [HOLDS, within_sight(principal, actor)]
        if reason:
            conditions.append(Suppression.reason == reason)
        if part:
            conditions.append(Suppression.email_key.contains(part, autoescape=True))
        if before is not None:
            conditions.append(Suppression.id < before)
        statement = select(Suppression).where(*conditions).order_by(Suppression.id.desc()).limit(size)
        return (await self._session.scalars(statement)).all()

    async def get_active(self, principal: Principal, actor: str, suppression_id: int) -> Suppression | None:
        """One reason that holds and the account may see, locked until the end of the transaction."""
        statement = select(Suppression).where(
            Suppression.id == suppression_id, HOLDS, within_sight(principal, actor)
        )  # fmt: skip
        return (await self._session.scalars(statement.with_for_update())).one_or_none()

    async def may_see(self, principal: Principal, email_key: str) -> bool:
        """True unless the e-mail belongs to hidden addresses only."""
        return bool(await self._session.scalar(select(email_visible(principal, literal(email_key)))))

    async def lift(self, suppression_id: int, by: str, why: str, now: datetime) -> None:
        """End a reason."""
        await self._session.execute(
            update(Suppression)
            .where(Suppression.id == suppression_id)
            .values(lifted_at=now, lifted_by=by, lifted_why=why)
        )
