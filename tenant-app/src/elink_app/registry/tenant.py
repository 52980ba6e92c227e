"""One tenant as the registry tells it. Immutable; a change gives a new value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\Z")
_PORT = re.compile(r":[0-9]{1,5}\Z")


class TenantState(StrEnum):
    """The states a customer goes through. `Maintenance`: the operator is at work on the data, and ends it by itself."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"
    MAINTENANCE = "Maintenance"


@dataclass(frozen=True)
class Limits:
    """What the plan holds; None = no limit."""

    addresses: int | None = None
    mails_per_hour: int | None = None
    storage_bytes: int | None = None


@dataclass(frozen=True)
class MailSettings:
    """How the customer's mails leave; empty = the platform's default."""

    sender: str = ""
    reply_to: str = ""


@dataclass(frozen=True)
class Tenant:
    """One row of `tenant`. `setup_token_sha256` is lower-case hex; `language` is ja, en or empty."""

    name: str
    uid: str
    host: str
    database: str
    role: str
    directory: str
    state: TenantState
    state_reason: str
    display_name: str
    language: str
    limits: Limits
    master_email: str
    setup_token_sha256: str = field(repr=False)
    setup_expires_at: datetime | None
    mail: MailSettings = MailSettings()
    chatwork_room: str = ""

    @property
    def sender(self) -> str:
        """The address that mails of the service itself come from."""
        return self.mail.sender or f"no-reply@{self.host}"


def normalise_host(header: str) -> str | None:
    """The host of a Host header: lower case, without port and final dot; None when it can be nobody's name.

    IP addresses are nobody's: a tenant is reached by its name only.
    """
    host = _PORT.sub("", header.strip().lower())
    host = host.removesuffix(".")
    if not _HOST.match(host):
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def _object(raw: object) -> dict[str, Any]:
    """A jsonb column as the driver gives it (text) or as a dict; anything else is empty."""
    values = orjson.loads(raw) if isinstance(raw, str | bytes) else raw
    return values if isinstance(values, dict) else {}


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def parse_limits(raw: object) -> Limits:
    """Read the `limits` column (JSON text or object); what is absent or no positive number is no limit."""
    values = _object(raw)

    def number(key: str) -> int | None:
        value = values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    return Limits(number("addresses"), number("mailsPerHour"), number("storageBytes"))


def parse_tenant(row: Mapping[str, Any]) -> Tenant:
    """Build a Tenant from a registry row; raises ValueError when a needed column is empty or strange."""
    host = normalise_host(row["host"] or "")
    if host is None:
        raise ValueError("host")
    for column in ("name", "database", "role", "directory"):
        if not row[column]:
            raise ValueError(column)
    mail = _object(row["mail"])
    return Tenant(
        name=row["name"],
        uid=row["uid"] or "",
        host=host,
        database=row["database"],
        role=row["role"],
        directory=row["directory"],
        state=TenantState(row["state"]),
        state_reason=row["state_reason"] or "",
        display_name=row["display_name"] or row["name"],
        language=row["language"] if row["language"] in ("ja", "en") else "",
        limits=parse_limits(row["limits"]),
        master_email=row["master_email"] or "",
        setup_token_sha256=(row["setup_token_sha256"] or "").lower(),
        setup_expires_at=row["setup_expires_at"],
        mail=MailSettings(_text(mail, "from"), _text(mail, "replyTo")),
        chatwork_room=_text(_object(row["contacts"]), "chatworkRoomId"),
    )
