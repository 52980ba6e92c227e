"""What the master decides for all, and the standing offer of his place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal
from elink_app.accounts.repository import AccountRepository
from elink_app.audit.service import Actor, record
from elink_app.errors import InvalidInput, NotFound
from elink_app.outbox.schemas import UndeliveredMail
from elink_app.outbox.service import undelivered
from elink_app.passkeys.repository import PasskeyRepository
from elink_app.security.mails import OFFER_MAIL
from elink_app.security.repository import OfferRepository, RulesRepository
from elink_app.security.rules import FactorRule
from elink_app.validation import field_error


@dataclass(frozen=True)
class OfferView:
    """The standing offer of the master's place."""

    from_id: int
    to_id: int
    to_email: str
    expires_at: datetime
    # The mail about it, if that was given up.
    undelivered: UndeliveredMail | None


class MasterSettings:
    """Within one transaction."""

    def __init__(self, db: AsyncSession, actor: Actor, now: datetime) -> None:
        self._db = db
        self._actor = actor
        self._now = now

    async def factor_rule(self) -> FactorRule:
        """The rule as it is."""
        return await RulesRepository(self._db).factor_rule()

    async def demand(self, rule: FactorRule, principal: Principal) -> None:
        """Set the rule.

        Raises InvalidInput when passkeys are demanded by a master who has none, so that nobody could undo it, or who
        has not shown in this session that it works.
        """
        rows = RulesRepository(self._db)
        before = await rows.factor_rule()
        if before is rule:
            return
        if rule is FactorRule.PASSKEYS and not await PasskeyRepository(self._db).count(principal.account_id):
            raise InvalidInput([field_error(("passkeys_only",), "own_passkey_first")])
        if rule is FactorRule.PASSKEYS and not principal.by_passkey:
            raise InvalidInput([field_error(("passkeys_only",), "own_passkey_unused")])
        await rows.demand(rule)
        facts: dict[str, Any] = {"before": before.boxes, "after": rule.boxes}
        await record(self._db, self._actor, "settings.security", kind="settings", now=self._now, **facts)

    async def offer(self) -> OfferView | None:
        """The standing offer."""
        found = await OfferRepository(self._db).get(self._now)
        heir = await AccountRepository(self._db).get(found.to_id) if found is not None else None
        if found is None or heir is None:
            return None
        mail = (await undelivered(self._db, [heir.id], OFFER_MAIL)).get(heir.id)
        return OfferView(found.from_id, found.to_id, heir.email, found.expires_at, mail)

    async def candidates(self) -> list[tuple[int, str]]:
        """Ids and e-mails of those who can take the master's place: active users."""
        return await AccountRepository(self._db).active_users()

    async def end_offer(self, principal: Principal) -> None:
        """The master withdraws, or the heir declines. Raises NotFound for anybody else, and when none stands."""
        offer = await self.offer()
        if offer is None or not (principal.is_master or principal.account_id == offer.to_id):
            raise NotFound
        await OfferRepository(self._db).clear()
        action = "master.withdraw" if principal.is_master else "master.decline"
        await record(self._db, self._actor, action, kind="account", key=str(offer.to_id), now=self._now)
