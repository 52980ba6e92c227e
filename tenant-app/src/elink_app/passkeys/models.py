"""Passkeys, and the challenges that wait for their answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Passkey(Base):
    """A key pair of which the user's device keeps the private half."""

    __tablename__ = "passkey"
    __table_args__ = (
        Index("ix_passkey_account_id", "account_id"),
        Index("uq_passkey_credential_id", "credential_id", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary)
    # COSE, as the device gave it.
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    # Grows with each use; stays 0 with devices that share the key among themselves.
    sign_count: Mapped[int]
    # Random, the same for all passkeys of an account: what devices know the account by.
    user_handle: Mapped[bytes] = mapped_column(LargeBinary)
    transports: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]


class PasskeyChallenge(Base):
    """A question to a device; the row goes with the first answer."""

    __tablename__ = "passkey_challenge"
    __table_args__ = (Index("ix_passkey_challenge_expires_at", "expires_at"),)

    challenge: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(10))
    # Hash of the secret in the cookie of the browser that was asked: no other one may answer.
    browser_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    # Who must answer; NULL when that is to be found out.
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    # For a new passkey: the handle that its device was given.
    user_handle: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
