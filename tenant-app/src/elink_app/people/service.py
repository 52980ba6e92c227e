"""Registering, changing, stopping and removing users; the tenant's own fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.models import Account
from elink_app.accounts.permissions import Principal, known
from elink_app.accounts.repository import SessionRepository
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.emails import email_key
from elink_app.errors import FieldError, Forbidden, InvalidInput, NotFound
from elink_app.outbox.schemas import UndeliveredMail
from elink_app.outbox.service import undelivered
from elink_app.people.models import UserField
from elink_app.people.repository import PeopleRepository, Person
from elink_app.people.schemas import (
    FieldInput,
    FieldOutput,
    Status,
    UserInput,
    UserOutput,
    UserUpdate,
    attributes_model,
)
from elink_app.registry.tenant import Tenant
from elink_app.roles.service import Roles
from elink_app.security.factors import drop_factors, has_factor
from elink_app.security.repository import LinkRepository
from elink_app.security.service import INVITE, send_invitation
from elink_app.tokens.repository import TokenRepository
from elink_app.validation import field_error, field_errors

MAX_USERS = 500
MAX_FIELDS = 30


class Users:
    """The users of one tenant within one transaction, as `principal` may see and change them."""

    def __init__(
        self, db: AsyncSession, tenant: Tenant, principal: Principal, actor: Actor, clock: Clock, base_url: str
    ) -> None:
        self._db = db
        self._tenant = tenant
        self._rows = PeopleRepository(db)
        self._roles = Roles(db, principal, actor, clock)
        self._principal = principal
        self._actor = actor
        self._clock = clock
        self._base_url = base_url

    async def find(self, text: str = "") -> Sequence[UserOutput]:
        """Everybody, or whose e-mail or name holds `text`."""
        people = await self._rows.find(text.strip())
        mails = await undelivered(self._db, [person.account.id for person in people])
        return [_output(person, mails.get(person.account.id)) for person in people]

    async def get(self, account_id: int) -> UserOutput:
        """One user; raises NotFound."""
        person = await self._load(account_id)
        return _output(person, (await undelivered(self._db, [account_id])).get(account_id))

    async def may_act_on(self, account_id: int) -> bool:
        """True when the caller may stop, remove or change this user."""
        return self._in_reach(await self._load(account_id))

    async def invite(self, data: UserInput) -> UserOutput:
        """Register a user and send the invitation. Raises InvalidInput, Forbidden for roles out of reach."""
        await self._rows.lock()
        if await self._rows.count() >= MAX_USERS:
            raise InvalidInput([field_error(("email",), "too_many_users", max_length=MAX_USERS)])
        attributes = await self._attributes(data)
        if any(person.account.email_key == email_key(data.email) for person in await self._rows.find()):
            raise InvalidInput([field_error(("email",), "email_taken")])
        now = self._clock()
        account = Account(
            email=data.email,
            email_key=email_key(data.email),
            display_name=data.display_name,
            attributes=attributes,
            created_at=now,
        )
        await self._rows.add(account)
        _, roles = await self._roles.assign(account.id, data.roles)
        await send_invitation(self._db, self._tenant, account, self._base_url, now)
        after = {"email": data.email, "name": data.display_name, "roles": roles, "attributes": attributes}
        await self._record("user.invite", account, after=after)
        return await self.get(account.id)

    async def update(self, account_id: int, data: UserUpdate) -> UserOutput:
        """Change name, roles and attributes. Raises NotFound, InvalidInput, Forbidden."""
        await self._rows.lock()
        person = await self._load(account_id, lock=True)
        own = account_id == self._principal.account_id
        if not (own or self._in_reach(person)):
            raise Forbidden
        account = person.account
        attributes = await self._attributes(data)
        before = {"name": account.display_name, "attributes": account.attributes}
        roles_before, roles_after = await self._roles.assign(account_id, data.roles)
        account.display_name, account.attributes = data.display_name, attributes
        await self._db.flush()
        facts_before = {**before, "roles": roles_before}
        facts_after = {"name": data.display_name, "attributes": attributes, "roles": roles_after}
        if facts_before != facts_after:
            await self._record("user.update", account, before=facts_before, after=facts_after)
        self._db.expire_all()
        return await self.get(account_id)

    async def disable(self, account_id: int) -> UserOutput:
        """Stop a user: sessions, tokens and links end at once. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if account.disabled_at is None:
            account.disabled_at = self._clock()
            await self._end_everything(account_id)
            await self._record("user.disable", account)
        return await self.get(account_id)

    async def enable(self, account_id: int) -> UserOutput:
        """Let a stopped user in again. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if account.disabled_at is not None:
            account.disabled_at = None
            await self._record("user.enable", account)
        return await self.get(account_id)

    async def delete(self, account_id: int) -> None:
        """Remove a user for good; what the audit log says of him stays. Raises NotFound, Forbidden."""
        await self._rows.lock()
        account = (await self._reach(account_id)).account
        before = {"email": account.email, "name": account.display_name}
        await self._record("user.delete", account, before=before)
        await self._rows.forget_values(account_id)
        await self._rows.delete(account)

    async def invite_again(self, account_id: int) -> UserOutput:
        """Send a new invitation; the link of the older one ends. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if account.password_hash is not None or account.disabled_at is not None:
            raise NotFound
        await send_invitation(self._db, self._tenant, account, self._base_url, self._clock())
        await self._record("user.invite_again", account)
        return await self.get(account_id)

    async def revoke_invitation(self, account_id: int) -> UserOutput:
        """End the link of the invitation. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if not await LinkRepository(self._db).revoke(account_id, INVITE):
            raise NotFound
        await self._record("user.revoke_invitation", account)
        return await self.get(account_id)

    async def force_password(self, account_id: int) -> UserOutput:
        """Demand a new password at the next request. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        account.must_change_password = True
        await self._record("user.force_new_passphrase", account)
        return await self.get(account_id)

    async def remove_factor(self, account_id: int) -> UserOutput:
        """Take the phone, passkeys and recovery codes of somebody who lost them. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if not await has_factor(self._db, account):
            raise NotFound
        passkeys = await drop_factors(self._db, account)
        await self._record("user.remove_factor", account, before={"passkeys": passkeys})
        return await self.get(account_id)

    async def end_session(self, account_id: int, session_id: int) -> None:
        """Log one browser of a user out. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        if not await SessionRepository(self._db).revoke(account_id, session_id):
            raise NotFound
        await self._record("user.end_session", account)

    async def end_sessions(self, account_id: int) -> None:
        """Log every browser of a user out. Raises NotFound, Forbidden."""
        account = (await self._reach(account_id)).account
        count = await SessionRepository(self._db).revoke_all(account_id)
        await self._record("user.end_sessions", account, after={"count": count})

    async def _end_everything(self, account_id: int) -> None:
        await SessionRepository(self._db).revoke_all(account_id)
        await TokenRepository(self._db).revoke_all(account_id)
        await LinkRepository(self._db).revoke(account_id)

    async def _load(self, account_id: int, *, lock: bool = False) -> Person:
        person = await self._rows.get(account_id, lock=lock)
        if person is None:
            raise NotFound
        return person

    def _in_reach(self, person: Person) -> bool:
        """Nobody acts on the master or on himself, and only the master on somebody who may more than the caller."""
        account = person.account
        if account.is_master or account.id == self._principal.account_id:
            return False
        held = known(name for names in person.grants.values() for name in names)
        return self._principal.is_master or held <= self._principal.permissions

    async def _reach(self, account_id: int) -> Person:
        person = await self._load(account_id, lock=True)
        if not self._in_reach(person):
            raise Forbidden
        return person

    async def _attributes(self, data: UserUpdate) -> dict[str, Any]:
        model = attributes_model(await self._rows.fields())
        try:
            return model.model_validate(data.attributes).model_dump(by_alias=True, exclude_none=True)
        except ValidationError as error:
            wrong = [
                FieldError(("attributes", *found.field), found.code, found.message)
                for found in field_errors(error.errors())
            ]
            raise InvalidInput(wrong) from None

    async def _record(
        self,
        action: str,
        account: Account,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        now = self._clock()
        await record(
            self._db, self._actor, action, kind="user", key=str(account.id), before=before, after=after, now=now
        )


class UserFields:
    """The tenant's own fields of users, within one transaction."""

    def __init__(self, db: AsyncSession, actor: Actor, clock: Clock, undo_window: timedelta) -> None:
        self._db = db
        self._rows = PeopleRepository(db)
        self._actor = actor
        self._clock = clock
        self._undo_window = undo_window

    async def all(self) -> Sequence[FieldOutput]:
        """Every field in use, in its order."""
        return [_field_output(field) for field in await self._rows.fields()]

    async def deleted(self) -> Sequence[FieldOutput]:
        """What can be brought back with its values."""
        return [_field_output(field) for field in await self._rows.deleted_fields(self._since())]

    async def look(self, field_id: int) -> tuple[FieldOutput, int]:
        """One field in use, and how many users have a value. Raises NotFound."""
        field = await self._get(field_id)
        return _field_output(field), await self._rows.count_holders(field.key)

    async def create(self, data: FieldInput) -> FieldOutput:
        """Define a field; raises InvalidInput."""
        await self._rows.lock()
        present = await self._rows.fields()
        if len(present) >= MAX_FIELDS:
            raise InvalidInput([field_error(("key",), "too_many_fields", max_length=MAX_FIELDS)])
        if await self._rows.key_taken(data.key):
            raise InvalidInput([field_error(("key",), "key_taken")])
        field = UserField(**data.model_dump(), position=max((f.position for f in present), default=0) + 1)
        await self._rows.add_field(field)
        await self._record("user_field.create", field, after=_field_facts(data.model_dump()))
        return _field_output(field)

    async def delete(self, field_id: int) -> None:
        """Hide a field and its values at once; they are erased when the undo window is over. Raises NotFound."""
        await self._rows.lock()
        field = await self._get(field_id)
        holders = await self._rows.delete_field(field, self._clock())
        before = {"label": field.label, "kind": field.kind, "values": holders}
        await self._record("user_field.delete", field, before=before)

    async def restore(self, field_id: int) -> FieldOutput:
        """Bring a deleted field back with its values. Raises NotFound when it is too late, InvalidInput."""
        await self._rows.lock()
        field = await self._rows.field(field_id, deleted_since=self._since())
        if field is None:
            raise NotFound
        if len(await self._rows.fields()) >= MAX_FIELDS:
            raise InvalidInput([field_error(("key",), "too_many_fields", max_length=MAX_FIELDS)])
        await self._record("user_field.restore", field, after={"values": await self._rows.restore_field(field)})
        return _field_output(field)

    def _since(self) -> datetime:
        return self._clock() - self._undo_window

    async def _get(self, field_id: int) -> UserField:
        field = await self._rows.field(field_id)
        if field is None:
            raise NotFound
        return field

    async def _record(
        self,
        action: str,
        field: UserField,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        now = self._clock()
        await record(
            self._db, self._actor, action, kind="user_field", key=field.key, before=before, after=after, now=now
        )


def _field_output(field: UserField) -> FieldOutput:
    return FieldOutput.model_validate(field, from_attributes=True)


def _field_facts(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "key"}


def status_of(account: Account) -> Status:
    """What the account can do at present."""
    if account.disabled_at is not None:
        return Status.DISABLED
    return Status.INVITED if account.password_hash is None else Status.ACTIVE


def _output(person: Person, mail: UndeliveredMail | None) -> UserOutput:
    account = person.account
    return UserOutput(
        id=account.id,
        email=account.email,
        display_name=account.display_name,
        status=status_of(account),
        is_master=account.is_master,
        roles=sorted(map(int, person.grants)),
        attributes=account.attributes,
        second_factor=account.totp_secret is not None or person.has_passkey,
        invited_until=person.invited_until.astimezone(JST) if person.invited_until else None,
        undelivered=mail,
        created_at=account.created_at.astimezone(JST),
    )
