"""Consent and suppression: what counts now, and how it is changed.

The functions are for other domains; `ConsentBook` is what pages and API call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.consent.models import Suppression
from elink_app.consent.repository import ConsentRepository
from elink_app.consent.schemas import (
    ConsentInput,
    ConsentLine,
    EmailOutput,
    SuppressionInput,
    SuppressionOutput,
    SuppressionPage,
)
from elink_app.database.locks import alone_with
from elink_app.emails import clean_email, email_key
from elink_app.errors import AppError, InvalidInput, NotFound
from elink_app.messages import N_, Message
from elink_app.validation import field_error

_LINES = 200


class Kind(StrEnum):
    """What a person said about mail."""

    GIVEN = "given"
    WITHDRAWN = "withdrawn"


class Reason(StrEnum):
    """Why an e-mail gets no mail."""

    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    BLOCKED = "blocked"


# The person's own will: only a newer consent of that person outweighs it.
_OWN_WILL = frozenset({Reason.UNSUBSCRIBED.value, Reason.COMPLAINED.value})


class ConsentNeeded(AppError):
    """The person does not want mail, and has not said otherwise since."""

    status = 409
    code = "consent-needed"
    title = N_("A new consent is needed")

    def __init__(self) -> None:
        super().__init__(
            Message(
                N_(
                    "This person asked for no more mail. Record a consent that was given afterwards, "
                    "then take the e-mail off the list."
                )
            )
        )


@dataclass(frozen=True)
class ConsentFact:
    """One line for the ledger. `at`: when the person said so; `by`: who records it."""

    email: str
    kind: Kind
    at: datetime
    how: str = ""
    source: str = ""
    wording: str = ""
    by: str = ""


async def consent_state(db: AsyncSession, email_keys: Sequence[str]) -> dict[str, Kind]:
    """What counts now by e-mail key; a key of which nothing is recorded is missing."""
    return {key: Kind(kind) for key, kind in (await ConsentRepository(db).current(email_keys)).items()}


async def record_consent(
    db: AsyncSession, facts: Sequence[ConsentFact], now: datetime, job_id: int | None = None
) -> None:
    """Add lines to the ledger. The line with the newest `at` counts, whenever it was recorded.

    What `job_id` recorded can be taken back by `retract_consents`.
    """
    lines = [
        {
            "email_key": email_key(fact.email), "kind": fact.kind.value, "at": min(fact.at, now), "how": fact.how,
            "source": fact.source, "wording": fact.wording, "recorded_by": fact.by, "recorded_at": now,
            "job_id": job_id,
        }
        for fact in facts
    ]  # fmt: skip
    if lines:
        await ConsentRepository(db).add(lines)


@dataclass(frozen=True)
class Retracted:
    """One batch of lines: the last one looked at, how many were taken back, how many stay (hidden from the account)."""

    last: int
    count: int
    kept: int


async def retract_consents(
    db: AsyncSession, principal: Principal, job_id: int, after: int, size: int, by: str, now: datetime
) -> Retracted | None:
    """Take back what a job recorded, by lines of their own: what counted without them counts again.

    What people said before and since stays as they said it. None when nothing is left after line `after`.
    """
    rows = ConsentRepository(db)
    lines = await rows.standing_lines(principal, job_id, after, size)
    if not lines:
        return None
    seen = [(number, key) for number, key, visible in lines if visible]
    back = [
        {"email_key": key, "kind": "retracted", "at": now, "how": "undo", "recorded_by": by, "recorded_at": now,
         "retracts": number}
        for number, key in seen
    ]  # fmt: skip
    if back:
        await rows.add(back)
    return Retracted(lines[-1][0], len(back), len(lines) - len(back))


async def suppressed_among(db: AsyncSession, email_keys: Sequence[str]) -> set[str]:
    """Those of `email_keys` that get no mail."""
    return await ConsentRepository(db).suppressed(email_keys) if email_keys else set()


async def is_suppressed(db: AsyncSession, email_key: str) -> bool:
    """True when the e-mail gets no mail."""
    return bool(await suppressed_among(db, [email_key]))


async def suppress(
    db: AsyncSession, email_key: str, reason: Reason, detail: str = "", source: str = "", *, now: datetime
) -> bool:
    """Put an e-mail on the list. False when this reason held already: it then stays as it was."""
    return bool(await suppress_many(db, [email_key], reason, detail, source, now=now))


async def suppress_many(
    db: AsyncSession, email_keys: Sequence[str], reason: Reason, detail: str = "", source: str = "", *, now: datetime
) -> int:
    """The same for many; returns how many are new."""
    shared = {"reason": reason.value, "detail": detail, "source": source[:300], "since": now}
    rows = [{"email_key": key, **shared} for key in sorted(set(email_keys))]
    return await ConsentRepository(db).suppress(rows) if rows else 0


async def lift_own_will(db: AsyncSession, email_key: str, by: str, why: str, now: datetime) -> int:
    """The person wants mail again and said so himself: end `unsubscribed`. Returns how many reasons ended."""
    rows = ConsentRepository(db)
    mine = [
        row for row in await rows.suppressions_of(email_key, _LINES) if row.holds and row.reason == Reason.UNSUBSCRIBED
    ]
    for row in mine:
        await rows.lift(row.id, by, why, now)
    return len(mine)


class ConsentBook:
    """Consent and suppression of one tenant, as one account may see and change them."""

    def __init__(self, session: AsyncSession, principal: Principal, actor: Actor, clock: Clock) -> None:
        self._session = session
        self._rows = ConsentRepository(session)
        self._principal = principal
        self._actor = actor
        self._clock = clock

    async def email(self, email: str) -> EmailOutput:
        """Everything about one e-mail. Of one that only hidden addresses bear: what the account itself recorded, so
        that it looks like one that nobody bears."""
        key = email_key(email)
        lines = await self._rows.ledger(key, _LINES)
        current = (await self._rows.current([key])).get(key)
        reasons = await self._rows.suppressions_of(key, _LINES)
        if not await self._rows.may_see(self._principal, key):
            lines = [line for line in lines if line.recorded_by == self._actor.name]
            current = max(lines, key=lambda line: (line.at, line.id)).kind if lines else None
            reasons = [row for row in reasons if row.source == self._actor.name]
        return EmailOutput(
            email=key,
            consent=current,
            suppressed=any(row.holds for row in reasons),
            ledger=[
                ConsentLine(
                    kind=line.kind, at=line.at.astimezone(JST), how=line.how, source=line.source,
                    wording=line.wording, recorded_by=line.recorded_by,
                    recorded_at=line.recorded_at.astimezone(JST),
                )
                for line in lines
            ],
            suppressions=[to_output(row) for row in reasons],
        )  # fmt: skip

    async def record(self, email: str, data: ConsentInput) -> EmailOutput:
        """Record that somebody gave or withdrew consent. Raises InvalidInput for what is no e-mail: a line stays."""
        if clean_email(email) is None:
            raise InvalidInput([field_error(("email",), "email")])
        found = await self.email(email)
        now = self._clock()
        fact = ConsentFact(
            found.email, Kind(data.kind), data.at or now, data.how, data.source, data.wording, self._actor.name
        )
        await record_consent(self._session, [fact], now)
        await record(
            self._session, self._actor, f"consent.{data.kind}", kind="email", key=found.email[:100],
            after={"how": data.how, "source": data.source, "at": fact.at.isoformat()}, now=now,
        )  # fmt: skip
        return await self.email(email)

    async def block(self, data: SuppressionInput) -> EmailOutput:
        """Put an e-mail on the list by hand. Nothing tells whether hidden addresses bear it, or others blocked it: the
        account has an entry of its own, which it sees and may lift; theirs hold on."""
        key = email_key(data.email)
        now = self._clock()
        await alone_with(self._session, f"suppression {key}")
        await self._rows.cover(self._principal, self._actor.name, [key], data.reason, now)
        new = await suppress(self._session, key, Reason(data.reason), data.detail, self._actor.name, now=now)
        if new or await self._rows.stand_alone(key, data.reason):
            await record(
                self._session, self._actor, "suppression.add", kind="email", key=key[:100],
                after={"reason": data.reason, "detail": data.detail}, now=now,
            )  # fmt: skip
        return await self.email(data.email)

    async def lift(self, suppression_id: int, why: str) -> SuppressionOutput:
        """End one reason; raises NotFound, or ConsentNeeded against the person's will."""
        row = await self._rows.get_active(self._principal, self._actor.name, suppression_id)
        if row is None:
            raise NotFound
        if row.reason in _OWN_WILL and not await self._rows.given_after(row.email_key, row.since):
            raise ConsentNeeded
        now = self._clock()
        await self._rows.lift(row.id, self._actor.name, why, now)
        await self._rows.uncover([row.email_key], row.reason)
        await record(
            self._session, self._actor, "suppression.lift", kind="email", key=row.email_key[:100],
            before={"reason": row.reason}, after={"why": why}, now=now,
        )  # fmt: skip
        return to_output(row).model_copy(
            update={"lifted_at": now.astimezone(JST), "lifted_by": self._actor.name, "lifted_why": why}
        )

    async def suppressions(
        self, *, reason: str = "", part: str = "", before: int | None = None, size: int = 50
    ) -> SuppressionPage:
        """Who gets no mail, the newest first; `before` is `next` of an earlier page."""
        rows = await self._rows.page(
            self._principal, self._actor.name, reason=reason, part=email_key(part), before=before, size=size + 1
        )
        more = rows[size - 1].id if len(rows) > size else None
        return SuppressionPage(items=[to_output(row) for row in rows[:size]], next=more)


def to_output(row: Suppression) -> SuppressionOutput:
    """A reason as it is shown."""
    return SuppressionOutput(
        id=row.id, email=row.email_key, reason=row.reason, detail=row.detail, source=row.source,
        since=row.since.astimezone(JST),
        lifted_at=None if row.holds or row.lifted_at is None else row.lifted_at.astimezone(JST),
        lifted_by="" if row.holds else row.lifted_by, lifted_why="" if row.holds else row.lifted_why,
    )  # fmt: skip
