"""The ledger of consents and the suppression list. Both outlive the address that they are about."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Identity, Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Reason(StrEnum):
    """Why an e-mail address gets no mail."""

    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    BLOCKED = "blocked"


class ConsentEntry(Base):
    """One consent or its withdrawal, with its proof (特定電子メール法). Never changed, never deleted."""

    __tablename__ = "consent_entry"
    __table_args__ = (Index("ix_consent_entry_email_key", "email_key", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(320))
    given: Mapped[bool]
    # How it was said (a form, on paper, by telephone), where, and the words that were agreed to.
    how: Mapped[str] = mapped_column(String(100))
    source: Mapped[str] = mapped_column(String(300), server_default="")
    wording: Mapped[str] = mapped_column(Text, server_default="")
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    recorded_by: Mapped[str] = mapped_column(String(320))


class ConsentState(Base):
    """What the newest entry of an e-mail says: one row to look at instead of a history."""

    __tablename__ = "consent_state"

    email_key: Mapped[str] = mapped_column(String(320), primary_key=True)
    given: Mapped[bool]
    entry_id: Mapped[int]


class Suppression(Base):
    """An e-mail that gets no mail while `lifted_at` is empty."""

    __tablename__ = "suppression"
    __table_args__ = (
        Index(
            "uq_suppression_email_key_reason",
            "email_key",
            "reason",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
        Index("ix_suppression_since", text("since DESC"), text("id DESC")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(320))
    reason: Mapped[str] = mapped_column(String(20))
    # The receiving server's words, or what the person wrote.
    detail: Mapped[str] = mapped_column(Text, server_default="")
    # Which delivery, import or account it came from.
    source: Mapped[str] = mapped_column(String(320), server_default="")
    since: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str] = mapped_column(String(320), server_default="")
    lifted_why: Mapped[str] = mapped_column(String(300), server_default="")
