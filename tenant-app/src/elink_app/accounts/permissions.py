"""What an account may do. Refused unless granted; the master may everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """One function of the application."""

    ADDRESSES_VIEW = "addresses:view"
    ADDRESSES_EDIT = "addresses:edit"
    ADDRESSES_EXPORT = "addresses:export"
    DELIVERIES_DRAFT = "deliveries:draft"
    DELIVERIES_APPROVE = "deliveries:approve"
    DELIVERIES_SEND = "deliveries:send"
    TEMPLATES_EDIT = "templates:edit"
    USERS_MANAGE = "users:manage"
    SETTINGS_MANAGE = "settings:manage"
    AUDIT_VIEW = "audit:view"
    UTILITIES_RUN = "utilities:run"


ALL = frozenset(Permission)
NONE: frozenset[Permission] = frozenset()
# Who has these can reach everything else: no one but the master hands them on.
MASTER_ONLY = frozenset({Permission.USERS_MANAGE, Permission.SETTINGS_MANAGE, Permission.UTILITIES_RUN})


def known(names: Iterable[str]) -> frozenset[Permission]:
    """The permissions among stored names; a name of another release counts for nothing."""
    return frozenset(Permission(name) for name in names if name in ALL)


def effective(permissions: frozenset[Permission]) -> frozenset[Permission]:
    """What of these counts. Who may not see addresses changes and exports none: forms, answers and files show them."""
    if Permission.ADDRESSES_VIEW in permissions:
        return permissions
    return permissions - {Permission.ADDRESSES_EDIT, Permission.ADDRESSES_EXPORT}


@dataclass(frozen=True)
class Principal:
    """Who makes a request, however that was proved. `session_id` is None when not by a browser session."""

    account_id: int
    email: str
    display_name: str
    is_master: bool
    permissions: frozenset[Permission]
    session_id: int | None
    # Ids of the account's roles: information labels name roles.
    roles: frozenset[int] = frozenset()
    # What must be done before anything else is allowed.
    must_change_password: bool = False
    must_add_factor: bool = False
    # A passkey proved the session. Where passkeys alone are accepted, one that none proved counts no more.
    by_passkey: bool = False
    must_use_passkey: bool = False

    def may(self, permission: Permission) -> bool:
        """True when the account was granted `permission`."""
        return permission in self.permissions
