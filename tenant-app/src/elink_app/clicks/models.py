"""Tables of counted links."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class DeliveryLink(Base):
    """A URL that a delivery's mails lead to by links of their own: no other is ever redirected to."""

    __tablename__ = "delivery_link"

    delivery_id: Mapped[int] = mapped_column(
        ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    # From 1, in order of appearance.
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # As it is written in the mail.
    url: Mapped[str] = mapped_column(Text)
    # Recipients, written when the time of counting is over and `delivery_click` is emptied.
    human: Mapped[int] = mapped_column(server_default=text("0"))
    machine: Mapped[int] = mapped_column(server_default=text("0"))


class DeliveryClick(Base):
    """That a recipient's link was opened: one row, however often, so that recipients are counted and not visits.

    No page and no call shows a row. All of a delivery go 30 days after its end.
    """

    __tablename__ = "delivery_click"
    __table_args__ = (
        ForeignKeyConstraint(
            ["delivery_id", "number"], ["delivery_link.delivery_id", "delivery_link.number"], ondelete="CASCADE"
        ),
    )

    delivery_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    recipient_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seen_at: Mapped[datetime]
    # The first visit that looks like a person's; NULL while there was none.
    human_at: Mapped[datetime | None]
