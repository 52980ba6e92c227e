"""The rules of opting out: the link of a mail decides for the address that the mail went to, and for no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.consent.service import ConsentFact, Kind, Reason, lift_own_will, record_consent, suppress
from elink_app.deliveries.states import Category
from elink_app.errors import NotFound
from elink_app.mail.tokens import read_unsubscribe_token
from elink_app.optout.repository import OptOutRepository, Recipient

_ACTOR = "recipient"
# The words of the button, as proof of what was agreed to.
_RESUMED = "取り消して、再び受け取る / Undo: receive mails again"


class Choice(StrEnum):
    """What is stopped. `none`: an earlier decision is undone."""

    NONE = "none"
    ADVERTS = "adverts"
    ALL = "all"


class How(StrEnum):
    """By the page behind the link, or by the button of a mail program (RFC 8058)."""

    PAGE = "page"
    ONE_CLICK = "one_click"


@dataclass(frozen=True)
class Standing:
    """What the page may tell: it can be read by whoever a mail was forwarded to."""

    masked_email: str
    sender: str
    choice: Choice
    may_undo: bool


def masked(email: str) -> str:
    """Enough to recognise one's own address: `t***@example.co.jp`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}***@{domain}"


class OptOuts:
    """Decisions of one tenant's recipients within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._db = session
        self._rows = OptOutRepository(session)
        self._clock = clock

    async def standing(self, token: str) -> Standing:
        """What is stopped at the moment; changes nothing. Raises NotFound for a token that this tenant did not make."""
        person = await self._person(token)
        choice = await self._choice(person)
        # Adverts need a consent: where there never was one, there is none to go back to.
        may_undo = choice is Choice.ALL or (
            choice is Choice.ADVERTS and await self._rows.ever_consented(person.email_key)
        )
        return Standing(masked(person.email), person.sender, choice, may_undo)

    async def one_click(self, token: str, address: str) -> None:
        """The button of a mail program: stops the kind of mail that it was pressed in. Raises NotFound."""
        person = await self._person(token)
        wanted = Choice.ADVERTS if person.category is Category.ADVERT else Choice.ALL
        if await self._choice(person) is not Choice.ALL:
            await self._decide(person, wanted, How.ONE_CLICK, address)

    async def choose(self, token: str, choice: Choice, address: str) -> None:
        """A decision on the page; `address` is where from. Raises NotFound."""
        await self._decide(await self._person(token), choice, How.PAGE, address)

    async def _choice(self, person: Recipient) -> Choice:
        if await self._rows.has_unsubscribed(person.email_key):
            return Choice.ALL
        return Choice.ADVERTS if await self._rows.consent(person.email_key) == Kind.WITHDRAWN else Choice.NONE

    async def _decide(self, person: Recipient, choice: Choice, how: How, address: str) -> None:
        before = await self._choice(person)
        if choice is before:
            return
        now = self._clock()
        source = f"delivery {person.ids.delivery_id}, mail {person.ids.recipient_id}"
        if choice is Choice.NONE:
            await self._resume(person, source, how, now)
            skipped = 0
        else:
            # Deliveries first, as a bounce does that stops the same e-mail.
            held = await self._rows.hold_waiting(person.email_key, adverts_only=choice is Choice.ADVERTS)
            await self._stop(person, choice, source, how, now)
            skipped = await self._rows.skip_waiting(held, person.email_key, now)
        await record(
            self._db, Actor(None, _ACTOR, address), f"optout.{choice.value}", kind="delivery",
            key=str(person.ids.delivery_id), before={"choice": before}, after={"how": how, "mails_skipped": skipped},
            now=now,
        )  # fmt: skip

    async def _stop(self, person: Recipient, choice: Choice, source: str, how: How, now: datetime) -> None:
        if choice is Choice.ALL:
            await suppress(self._db, person.email_key, Reason.UNSUBSCRIBED, how.value, source, now=now)
        # Whoever stops everything and never consented has nothing to withdraw.
        if choice is Choice.ADVERTS or await self._rows.consent(person.email_key) == Kind.GIVEN:
            fact = ConsentFact(person.email_key, Kind.WITHDRAWN, now, how=how.value, source=source, by=_ACTOR)
            await record_consent(self._db, [fact], now)

    async def _resume(self, person: Recipient, source: str, how: How, now: datetime) -> None:
        await lift_own_will(self._db, person.email_key, _ACTOR, source, now)
        withdrawn = await self._rows.consent(person.email_key) == Kind.WITHDRAWN
        if withdrawn and await self._rows.ever_consented(person.email_key):
            fact = ConsentFact(
                person.email_key, Kind.GIVEN, now, how=how.value, source=source, wording=_RESUMED, by=_ACTOR
            )
            await record_consent(self._db, [fact], now)

    async def _person(self, token: str) -> Recipient:
        secret = await self._rows.secret()
        ids = read_unsubscribe_token(secret, token) if secret is not None else None
        person = await self._rows.recipient(ids) if ids is not None else None
        if person is None:
            raise NotFound
        return person
