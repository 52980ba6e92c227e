"""What people do with a delivery before and while it runs; what is sent itself is in `deliveries.models`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class DeliveryDraft(Base):
    """The author's own words. The delivery's bodies are made of them anew at every save: layout, footer, text part."""

    __tablename__ = "delivery_draft"

    delivery_id: Mapped[int] = mapped_column(
        ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    template_id: Mapped[int | None] = mapped_column(ForeignKey("template.id", ondelete="SET NULL"))
    segment_id: Mapped[int | None]
    text_body: Mapped[str] = mapped_column(Text, server_default="")
    layout: Mapped[str] = mapped_column(String(10), server_default="none")
    source: Mapped[str] = mapped_column(Text, server_default="")


class DeliveryEvent(Base):
    """One step in a delivery's history. `account_id` has no foreign key: the line outlives the account."""

    __tablename__ = "delivery_event"
    __table_args__ = (Index("ix_delivery_event_delivery_id", "delivery_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    account_id: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(320))
    action: Mapped[str] = mapped_column(String(40))
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
