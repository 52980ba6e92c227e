"""API tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Index, LargeBinary, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class ApiToken(Base):
    """A secret for a program; only its hash is kept. What it may is cut with what its owner may, at every use."""

    __tablename__ = "api_token"
    __table_args__ = (
        Index("uq_api_token_secret_sha256", "secret_sha256", unique=True),
        Index("ix_api_token_account_id", "account_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(50))
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
