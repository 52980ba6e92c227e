"""Who sends, as the law wants it told, and the rules under which the tenant sends."""

from __future__ import annotations

from datetime import datetime, time

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Identity,
    Index,
    SmallInteger,
    String,
    Text,
    Time,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class SenderSettings(Base):
    """The one row of settings; without it the defaults hold. Quiet hours are Japan Standard Time, both or neither."""

    __tablename__ = "sender_settings"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    organisation: Mapped[str] = mapped_column(String(200), server_default="")
    postal_address: Mapped[str] = mapped_column(Text, server_default="")
    contact: Mapped[str] = mapped_column(String(320), server_default="")
    approval_required: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    hold_minutes: Mapped[int] = mapped_column(SmallInteger, server_default=text("5"))
    type_count_above: Mapped[int] = mapped_column(server_default=text("100"))
    quiet_from: Mapped[time | None] = mapped_column(Time)
    quiet_until: Mapped[time | None] = mapped_column(Time)
    resend_unknown: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SenderAddress(Base):
    """An address that deliveries may come from."""

    __tablename__ = "sender_address"
    __table_args__ = (Index("uq_sender_address_email_key", "email_key", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320))
    name: Mapped[str] = mapped_column(String(100), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
