"""Defining roles and handing them out. Nobody gives what he does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import MASTER_ONLY, Permission, Principal, known
from elink_app.audit.service import Actor, record
from elink_app.clock import Clock
from elink_app.errors import AppError, Forbidden, InvalidInput, NotFound
from elink_app.messages import N_, Message
from elink_app.roles.models import Role
from elink_app.roles.repository import RoleRepository
from elink_app.roles.schemas import RoleInput, RoleOutput
from elink_app.validation import field_error

MAX_ROLES = 100
_NAMED = 10


class RoleInUse(AppError):
    """Users have the role. It cannot be given back to them once it is gone, so nobody loses it by the way."""

    status = 409
    code = "role-in-use"
    title = N_("Users have this role")

    def __init__(self, emails: Sequence[str]) -> None:
        named = ", ".join([*emails[:_NAMED], *(["…"] if len(emails) > _NAMED else [])])
        super().__init__(Message(N_("Take the role from these users first: %(names)s"), {"names": named}))


def may_grant(principal: Principal, permissions: Iterable[str]) -> bool:
    """True when `principal` may put these permissions into a role. The master's token gives no more than it has."""
    if principal.is_master:
        return known(permissions) <= principal.permissions
    return frozenset(permissions) <= principal.permissions - MASTER_ONLY


class Roles:
    """The roles of one tenant within one transaction."""

    def __init__(self, db: AsyncSession, principal: Principal, actor: Actor, clock: Clock) -> None:
        self._db = db
        self._rows = RoleRepository(db)
        self._principal = principal
        self._actor = actor
        self._clock = clock

    @property
    def grantable(self) -> list[Permission]:
        """The permissions that the caller may put into a role."""
        return [permission for permission in Permission if may_grant(self._principal, [permission])]

    async def all(self) -> Sequence[RoleOutput]:
        """Every role, by name."""
        return [_output(role, accounts) for role, accounts in await self._rows.all()]

    async def get(self, role_id: int) -> RoleOutput:
        """One role; raises NotFound."""
        for role in await self.all():
            if role.id == role_id:
                return role
        raise NotFound

    def may_change(self, role: RoleOutput | Role) -> bool:
        """True when the caller may change or delete this role."""
        return may_grant(self._principal, role.permissions)

    def may_hand_out(self, role: RoleOutput | Role) -> bool:
        """The master hands out every role; others only such as they have: a role also opens labelled addresses.

        A token hands out nothing that it may not do itself.
        """
        if not self._principal.is_master:
            return role.id in self._principal.roles
        return self.may_change(role)

    async def create(self, data: RoleInput) -> RoleOutput:
        """Define a role; raises InvalidInput, Forbidden for a permission that the caller cannot grant."""
        self._require_grantable(data.permissions)
        if await self._rows.count() >= MAX_ROLES:
            raise InvalidInput([field_error(("name",), "too_many_roles", max_length=MAX_ROLES)])
        await self._require_free(data.name, None)
        role = Role(name=data.name, permissions=list(data.permissions))
        await self._rows.add(role)
        await self._record("role.create", role, after=_facts(role))
        return _output(role, 0)

    async def update(self, role_id: int, data: RoleInput) -> RoleOutput:
        """Change a role for all who have it; raises NotFound, InvalidInput, Forbidden."""
        role = await self._load(role_id)
        self._require_grantable(role.permissions)
        self._require_grantable(data.permissions)
        await self._require_free(data.name, role_id)
        before = _facts(role)
        role.name, role.permissions = data.name, list(data.permissions)
        await self._db.flush()
        if _facts(role) != before:
            await self._record("role.update", role, before=before, after=_facts(role))
        return await self.get(role_id)

    async def holders(self, role_id: int) -> Sequence[tuple[int, str]]:
        """Ids and e-mails of the users who have the role."""
        return await self._rows.holders(role_id)

    async def labels_naming(self, role_id: int) -> int:
        """How many information labels the role opens."""
        return await self._rows.labels_naming(role_id)

    async def delete(self, role_id: int) -> None:
        """Remove a role that nobody has. Raises NotFound, Forbidden, RoleInUse."""
        role = await self._load(role_id)
        self._require_grantable(role.permissions)
        if holders := await self._rows.holders(role_id):
            raise RoleInUse([email for _, email in holders])
        before = _facts(role)
        await self._rows.delete(role)
        await self._record("role.delete", role, before=before)

    async def of(self, account_id: int) -> list[int]:
        """The ids of the roles of an account."""
        return await self._rows.of(account_id)

    async def assign(self, account_id: int, role_ids: Collection[int]) -> tuple[list[str], list[str]]:
        """Give an account exactly these roles; returns the names before and after.

        Raises InvalidInput for a role that does not exist, Forbidden for a change that the caller may not make.
        """
        before = await self._rows.of(account_id)
        changed = set(before) ^ set(role_ids)
        if changed and account_id == self._principal.account_id and not self._principal.is_master:
            raise Forbidden
        found = {role.id: role for role in await self._rows.lock(set(before) | set(role_ids))}
        if not self._principal.is_master and not changed <= self._principal.roles:
            raise Forbidden
        if not all(self.may_hand_out(found[role_id]) for role_id in changed & found.keys()):
            raise Forbidden
        if not set(role_ids) <= found.keys():
            raise InvalidInput([field_error(("roles",), "role")])
        if changed:
            await self._rows.replace(account_id, role_ids)
        names = [sorted(found[role_id].name for role_id in ids if role_id in found) for ids in (before, role_ids)]
        return names[0], names[1]

    def _require_grantable(self, permissions: Iterable[str]) -> None:
        if not may_grant(self._principal, permissions):
            raise Forbidden

    async def _require_free(self, name: str, but: int | None) -> None:
        await self._rows.lock_names()
        if await self._rows.name_taken(name, but):
            raise InvalidInput([field_error(("name",), "name_taken")])

    async def _load(self, role_id: int) -> Role:
        role = await self._rows.get(role_id, lock=True)
        if role is None:
            raise NotFound
        return role

    async def _record(
        self,
        action: str,
        role: Role,
        *,
        before: dict[str, object] | None = None,
        after: dict[str, object] | None = None,
    ) -> None:
        key, now = str(role.id), self._clock()
        await record(self._db, self._actor, action, kind="role", key=key, before=before, after=after, now=now)


def _facts(role: Role) -> dict[str, object]:
    return {"name": role.name, "permissions": sorted(role.permissions)}


def _output(role: Role, accounts: int) -> RoleOutput:
    return RoleOutput(id=role.id, name=role.name, permissions=sorted(known(role.permissions)), accounts=accounts)
