"""The rules of opting out: the link of a mail decides for the address that the mail went to, and for no other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.deliveries.states import Category
from elink_app.errors import NotFound
from elink_app.mail.tokens import read_unsubscribe_token
from elink_app.optout.repository import OptOutRepository, Recipient

_ACTOR = "recipient"


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
        newest = await self._rows.newest(person.email_key)
        return Standing(masked(person.email), person.sender, Choice(newest) if newest else Choice.NONE)

    async def one_click(self, token: str, address: str) -> None:
        """The button of a mail program: stops the kind of mail that it was pressed in. Raises NotFound."""
        person = await self._person(token)
        wanted = Choice.ADVERTS if person.category is Category.ADVERT else Choice.ALL
        if Choice(await self._rows.newest(person.email_key) or Choice.NONE) is not Choice.ALL:
            await self._decide(person, wanted, How.ONE_CLICK, address)

    async def choose(self, token: str, choice: Choice, address: str) -> None:
        """A decision on the page; `address` is where from. Raises NotFound."""
        await self._decide(await self._person(token), choice, How.PAGE, address)

    async def _decide(self, person: Recipient, choice: Choice, how: How, address: str) -> None:
        before = Choice(await self._rows.newest(person.email_key) or Choice.NONE)
        if choice is before:
            return
        now = self._clock()
        await self._rows.add(person, choice.value, how.value, now)
        skipped = 0
        if choice is not Choice.NONE:
            adverts = choice is Choice.ADVERTS
            skipped = await self._rows.skip_waiting(person.email_key, now, adverts_only=adverts)
        await record(
            self._db, Actor(None, _ACTOR, address), f"optout.{choice.value}", kind="delivery",
            key=str(person.ids.delivery_id), before={"choice": before}, after={"how": how, "mails_skipped": skipped},
            now=now,
        )  # fmt: skip

    async def _person(self, token: str) -> Recipient:
        secret = await self._rows.secret()
        ids = read_unsubscribe_token(secret, token) if secret is not None else None
        person = await self._rows.recipient(ids) if ids is not None else None
        if person is None:
            raise NotFound
        return person
