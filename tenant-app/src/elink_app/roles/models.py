"""Roles and who has them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Index, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Role(Base):
    """A name and a set of permissions. A permission that this release does not know counts for nothing."""

    __tablename__ = "role"
    __table_args__ = (Index("uq_role_name", "name", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AccountRole(Base):
    """An account has a role."""

    __tablename__ = "account_role"
    __table_args__ = (Index("ix_account_role_role_id", "role_id"),)

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[int] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)
