"""The rules of the sender's settings, of allowed senders and of signing keys."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.deliveries.footer import Imprint
from elink_app.deliveries.models import DkimKey
from elink_app.emails import email_key
from elink_app.errors import EditConflict, InvalidInput, NotFound
from elink_app.mail.dkim import dns_record, new_private_pem
from elink_app.senders.models import SenderAddress, SenderSettings
from elink_app.senders.repository import SenderRepository
from elink_app.senders.schemas import (
    DkimKeyOutput,
    SenderAddressInput,
    SenderAddressOutput,
    SettingsInput,
    SettingsOutput,
    SettingsUpdate,
)
from elink_app.validation import field_error

MAX_ADDRESSES = 50
MAX_KEYS = 20


def imprint_of(settings: SettingsInput) -> Imprint:
    """What stands in the footer of adverts."""
    return Imprint(settings.organisation, settings.postal_address, settings.contact)


def _output(row: SenderSettings | None) -> SettingsOutput:
    if row is None:
        return SettingsOutput()
    values = SettingsOutput.model_validate(
        {name: getattr(row, name) for name in (*SettingsInput.model_fields, "version")}
    )
    return values.model_copy(update={"complete": imprint_of(values).complete})


class Senders:
    """The sender's settings of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._db = session
        self._rows = SenderRepository(session)
        self._clock = clock

    async def settings(self) -> SettingsOutput:
        """The rules of sending; the defaults while nobody has saved any."""
        return _output(await self._rows.settings())

    async def save(self, actor: Actor, data: SettingsUpdate) -> SettingsOutput:
        """Replace the rules; raises EditConflict when `data.version` is not the newest."""
        row = await self._rows.lock_settings()
        if data.version is not None and data.version != row.version:
            raise EditConflict
        before = _output(row).model_dump(mode="json", exclude={"version", "complete"})
        values = data.model_dump(exclude={"version"})
        now = self._clock()
        await self._rows.save_settings({**values, "version": row.version + 1, "updated_at": now})
        after = data.model_dump(mode="json", exclude={"version"})
        changed = {name for name in after if before[name] != after[name]}
        await record(
            self._db, actor, "sender_settings.save", kind="settings", key="sender",
            before={name: before[name] for name in sorted(changed)},
            after={name: after[name] for name in sorted(changed)}, now=now,
        )  # fmt: skip
        return _output(await self._rows.lock_settings())

    async def addresses(self) -> Sequence[SenderAddressOutput]:
        """The allowed senders."""
        return [_address(row) for row in await self._rows.addresses()]

    async def is_allowed(self, email: str) -> bool:
        """True when deliveries may come from this address."""
        return await self._rows.address_of(email_key(email)) is not None

    async def add_address(self, actor: Actor, data: SenderAddressInput) -> SenderAddressOutput:
        """Allow a sender; raises InvalidInput when it is allowed already or there are too many."""
        if await self._rows.count_addresses() >= MAX_ADDRESSES:
            raise InvalidInput([field_error(("email",), "too_long", max_length=MAX_ADDRESSES)])
        made = await self._rows.add_address(data.email, email_key(data.email), data.name)
        if made is None:
            raise InvalidInput([field_error(("email",), "email_twice")])
        await record(
            self._db, actor, "sender_address.add", kind="sender_address", key=str(made), after={"email": data.email},
            now=self._clock(),
        )  # fmt: skip
        return SenderAddressOutput(id=made, email=data.email, name=data.name)

    async def remove_address(self, actor: Actor, address_id: int) -> None:
        """Allow a sender no longer; what is already approved is not sent with it either. Raises NotFound."""
        row = await self._rows.address(address_id)
        if row is None:
            raise NotFound
        await self._rows.remove_address(address_id)
        await record(
            self._db, actor, "sender_address.remove", kind="sender_address", key=str(address_id),
            before={"email": row.email}, now=self._clock(),
        )  # fmt: skip

    async def domains(self) -> list[str]:
        """The domains of the allowed senders: a key makes sense for these."""
        return sorted({row.email_key.rpartition("@")[2] for row in await self._rows.addresses()})

    async def keys(self) -> Sequence[DkimKeyOutput]:
        """Signing keys, the newest of each domain first."""
        return [_key(row) for row in await self._rows.keys()]

    async def make_key(self, actor: Actor, domain: str) -> DkimKeyOutput:
        """Make a key that does not sign yet: its record has to be in the DNS first. Raises InvalidInput."""
        wanted = domain.lower()
        if wanted not in await self.domains():
            raise InvalidInput([field_error(("domain",), "dkim_domain")])
        kept = await self._rows.keys()
        if len(kept) >= MAX_KEYS:
            raise InvalidInput([field_error(("domain",), "too_long", max_length=MAX_KEYS)])
        now = self._clock()
        stem = f"elink{now.astimezone(JST):%Y%m%d}"
        taken = {row.selector for row in kept if row.domain == wanted}
        names = (stem, *(f"{stem}-{number}" for number in range(2, MAX_KEYS + 2)))
        selector = next(name for name in names if name not in taken)
        # Making a key takes a good part of a second: not in the loop that serves everybody.
        pem = await asyncio.to_thread(new_private_pem)
        row = DkimKey(domain=wanted, selector=selector, private_pem=pem, active=False, created_at=now)
        await self._rows.add_key(row)
        await self._record_key(actor, "dkim.make", row)
        return _key(row)

    async def activate_key(self, actor: Actor, key_id: int) -> DkimKeyOutput:
        """Sign with this key from now on, and with no other of its domain. Raises NotFound."""
        row = await self._load_key(key_id)
        await self._rows.activate(row)
        await self._record_key(actor, "dkim.activate", row)
        return _key(await self._load_key(key_id))

    async def remove_key(self, actor: Actor, key_id: int) -> None:
        """Delete a key that does not sign; raises NotFound, or InvalidInput for one that does."""
        row = await self._load_key(key_id)
        if row.active:
            raise InvalidInput([field_error(("key",), "dkim_active")])
        await self._rows.remove_key(key_id)
        await self._record_key(actor, "dkim.delete", row)

    async def _record_key(self, actor: Actor, action: str, row: DkimKey) -> None:
        after = {"domain": row.domain, "selector": row.selector}
        await record(self._db, actor, action, kind="dkim_key", key=str(row.id), after=after, now=self._clock())

    async def _load_key(self, key_id: int) -> DkimKey:
        row = await self._rows.key(key_id, lock=True)
        if row is None:
            raise NotFound
        return row


def _key(row: DkimKey) -> DkimKeyOutput:
    return DkimKeyOutput(
        id=row.id, domain=row.domain, selector=row.selector, active=row.active,
        record_name=f"{row.selector}._domainkey.{row.domain}", record_value=dns_record(row.private_pem),
        created_at=row.created_at.astimezone(JST),
    )  # fmt: skip


def _address(row: SenderAddress) -> SenderAddressOutput:
    return SenderAddressOutput(id=row.id, email=row.email, name=row.name)
