"""One-time links, old passwords, recovery codes, the tenant's rules, the offer of the master's place."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class AccountLink(Base):
    """A link that lets its holder set the password of an account, once. Using it deletes the row."""

    __tablename__ = "account_link"
    __table_args__ = (
        Index("uq_account_link_token_sha256", "token_sha256", unique=True),
        Index("uq_account_link_account_id_purpose", "account_id", "purpose", unique=True),
        Index("ix_account_link_expires_at", "expires_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(10))
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class OldPassword(Base):
    """A hash that an account had: the same password is refused for a while."""

    __tablename__ = "old_password"
    __table_args__ = (Index("ix_old_password_account_id", "account_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    password_hash: Mapped[str] = mapped_column(Text)


class RecoveryCode(Base):
    """A code for when the phone is lost; the row goes when it is used."""

    __tablename__ = "recovery_code"

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    code_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)


class SecurityRules(Base):
    """The tenant's own rules; one row."""

    __tablename__ = "security_rules"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    second_factor_for_all: Mapped[bool] = mapped_column(server_default=text("false"))
    # Holds without the one above too.
    passkeys_only: Mapped[bool] = mapped_column(server_default=text("false"))


class MasterOffer(Base):
    """The master offers his place to another account; at most one offer at a time."""

    __tablename__ = "master_offer"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    from_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    to_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
