"""Accounts, their sessions, used set-up links and the memory of failed log-ins."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Account(Base):
    """Somebody who can log in. There is at most one master."""

    __tablename__ = "account"
    __table_args__ = (
        Index("uq_account_master", "is_master", unique=True, postgresql_where=text("is_master")),
        Index("uq_account_email_key", "email_key", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    # The e-mail in the form in which it is compared (see accounts.repository.email_key).
    email_key: Mapped[str] = mapped_column(String(320))
    display_name: Mapped[str] = mapped_column(String(100), server_default="")
    # None until an invited user has chosen a password.
    password_hash: Mapped[str | None] = mapped_column(Text)
    password_changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    is_master: Mapped[bool] = mapped_column(server_default=text("false"))
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    must_change_password: Mapped[bool] = mapped_column(server_default=text("false"))
    # Values of the tenant's own fields (see people.models.UserField).
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    # Base32; the second factor is on when it is there. A secret being tried out waits in `totp_pending`.
    totp_secret: Mapped[str | None] = mapped_column(String(64))
    totp_pending: Mapped[str | None] = mapped_column(String(64))
    # The time step of the last code that was accepted: no code counts twice.
    totp_step: Mapped[int] = mapped_column(server_default=text("0"))


class LoginSession(Base):
    """One logged-in browser. Only the hash of its secret is kept."""

    __tablename__ = "session"
    __table_args__ = (
        Index("uq_session_secret_sha256", "secret_sha256", unique=True),
        Index("ix_session_account_id", "account_id"),
        Index("ix_session_expires_at", "expires_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The absolute end; the end for idleness follows from last_seen_at.
    expires_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(45), server_default="")
    user_agent: Mapped[str] = mapped_column(String(200), server_default="")
    # A passkey proved who it is, at the log-in or by being made in this session.
    by_passkey: Mapped[bool] = mapped_column(server_default=text("false"))
    # The password was right and the second factor is still to come: good for nothing else.
    awaits_factor: Mapped[bool] = mapped_column(server_default=text("false"))


class UsedSetupToken(Base):
    """A set-up link that has done its work; the row is written in the transaction that makes the master."""

    __tablename__ = "used_setup_token"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    used_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LoginThrottle(Base):
    """Failures of one account name or one network address. The key is a hash: what was typed is not kept."""

    __tablename__ = "login_throttle"
    __table_args__ = (Index("ix_login_throttle_last_attempt_at", "last_attempt_at"),)

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    failures: Mapped[int]
    # Or a little before it: from when on the next failure is being forgotten.
    last_attempt_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
