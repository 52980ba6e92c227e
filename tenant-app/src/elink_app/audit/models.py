"""The chain and its head."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, SmallInteger, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class AuditEntry(Base):
    """One action. `hash` covers every other column and the hash before it (see `audit.chain`)."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_at", "at"),
        Index("ix_audit_entry_action", "action", "number"),
        Index("ix_audit_entry_account_id", "account_id", "number"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    # No foreign key: the line outlives the account.
    account_id: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(320))
    address: Mapped[str] = mapped_column(String(45))
    action: Mapped[str] = mapped_column(String(60))
    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(100))
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditHead(Base):
    """The end of the chain: a cut-off tail shows, and writers queue here."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    number: Mapped[int]
    hash: Mapped[bytes] = mapped_column(LargeBinary)
