"""Definitions of the fields that a tenant adds to addresses. The values are in `address.attributes`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Attribute(Base):
    """One field. Key and type never change; a deleted one keeps its key until its values are erased."""

    __tablename__ = "attribute"
    __table_args__ = (Index("uq_attribute_key", "key", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    key: Mapped[str] = mapped_column(String(40))
    label: Mapped[str] = mapped_column(String(50))
    # attributes.schemas.AttributeType
    type: Mapped[str] = mapped_column(String(10))
    required: Mapped[bool] = mapped_column(server_default=text("false"))
    choices: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    position: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    in_list: Mapped[bool] = mapped_column(server_default=text("false"))
    deleted_at: Mapped[datetime | None]
