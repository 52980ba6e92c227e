"""What a tenant notes about its users."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Identity, Index, Integer, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class UserField(Base):
    """A typed extra attribute of users; the values are in `account.attributes` by `key`."""

    __tablename__ = "user_field"
    __table_args__ = (Index("uq_user_field_key", "key", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[str] = mapped_column(String(40))
    label: Mapped[str] = mapped_column(String(50))
    kind: Mapped[str] = mapped_column(String(10))
    required: Mapped[bool] = mapped_column(server_default=text("false"))
    choices: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    deleted_at: Mapped[datetime | None]
    # Of a deleted field: what its users had, by the id of the account.
    deleted_values: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
