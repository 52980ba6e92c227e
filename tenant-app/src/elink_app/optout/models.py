"""What recipients decided by the link in a mail. Lines are added, never changed: the newest of an e-mail counts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class OptOut(Base):
    """One decision, with the mail that it came from: proof for an inspection. No foreign key: it outlives both."""

    __tablename__ = "opt_out"
    __table_args__ = (Index("ix_opt_out_email_key", "email_key", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(320))
    choice: Mapped[str] = mapped_column(String(10))
    how: Mapped[str] = mapped_column(String(10))
    delivery_id: Mapped[int]
    recipient_id: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
