"""Tables of deliveries: what is sent, to whom, and what became of each mail."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    Time,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base

# The states in which the clock or the worker may move a delivery.
MOVING = text("state IN ('scheduled', 'holding', 'sending')")


class Delivery(Base):
    """One mail to many people. Subject and bodies are final sources with placeholders (`mail.placeholders`)."""

    __tablename__ = "delivery"
    __table_args__ = (Index("ix_delivery_moving", "id", postgresql_where=MOVING),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # Counts the saves of people: a form that was opened before somebody else's save is refused.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    name: Mapped[str] = mapped_column(String(200))
    category: Mapped[str] = mapped_column(String(10), server_default="notice")
    state: Mapped[str] = mapped_column(String(20), server_default="draft")
    # Why it stands still or ended, as a stable word (`too_late`, `restored`); empty when a person did it.
    state_reason: Mapped[str] = mapped_column(String(40), server_default="")
    subject: Mapped[str] = mapped_column(String(500), server_default="")
    text_body: Mapped[str] = mapped_column(Text, server_default="")
    html_body: Mapped[str] = mapped_column(Text, server_default="")
    from_name: Mapped[str] = mapped_column(String(100), server_default="")
    from_address: Mapped[str] = mapped_column(String(320), server_default="")
    reply_to: Mapped[str] = mapped_column(String(320), server_default="")
    segment: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # Names of the fields whose values the recipients' `slots` hold, in the same order.
    fields: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    scheduled_at: Mapped[datetime | None]
    hold_until: Mapped[datetime | None]
    # Japan Standard Time; both or neither.
    quiet_from: Mapped[time | None] = mapped_column(Time)
    quiet_until: Mapped[time | None] = mapped_column(Time)
    made_by: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    made_by_name: Mapped[str] = mapped_column(String(100), server_default="")
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    approved_by: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    approved_by_name: Mapped[str] = mapped_column(String(100), server_default="")
    approved_at: Mapped[datetime | None]
    content_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Set by the transaction that wrote the recipients; nothing is sent without.
    frozen_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The tenant's choice: what stays unknown after a crash is sent again, under the same Message-ID.
    resend_unknown: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    # Links lead by way of the tenant's own host, and who opens them is counted (`clicks`).
    count_clicks: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    # A list of `attachments.Attachment`. A column, not a table: three at most, read and frozen with the content.
    attachments: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    # Since then only the counts are left, and none are added.
    clicks_ended_at: Mapped[datetime | None]
    # Exact counts, kept in the transaction that changes the recipients. What is left is pending.
    total: Mapped[int] = mapped_column(server_default=text("0"))
    accepted: Mapped[int] = mapped_column(server_default=text("0"))
    refused: Mapped[int] = mapped_column(server_default=text("0"))
    bounced: Mapped[int] = mapped_column(server_default=text("0"))
    skipped: Mapped[int] = mapped_column(server_default=text("0"))
    unknown: Mapped[int] = mapped_column(server_default=text("0"))

    @property
    def ended(self) -> int:
        """How many mails have come to an end, whatever it was."""
        return self.accepted + self.refused + self.bounced + self.skipped + self.unknown


class DeliveryRecipient(Base):
    """One mail of a delivery. Rows are narrow: Message-ID, sender address and links follow from the two ids.

    `next_at` is when the row is next looked at: when a queued or deferred one may be sent, when the lease of a sending
    one ends. It is NULL in the final states. A mail's row is written twice: when it is claimed, and when it is over.
    """

    __tablename__ = "delivery_recipient"
    __table_args__ = (
        Index("uq_delivery_recipient_email_key", "delivery_id", "email_key", unique=True),
        Index("ix_delivery_recipient_next_at", "delivery_id", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05}},
    )

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # No foreign key: the record outlives the address.
    address_id: Mapped[int | None]
    next_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    state: Mapped[str] = mapped_column(String(10), server_default="queued")
    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320))
    # Values of `Delivery.fields` in its order: a JSON array of texts, frozen with the audience.
    slots: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    # The server's own words, or why it was skipped (`suppressed`).
    reply: Mapped[str] = mapped_column(Text, server_default="")


class Template(Base):
    """A text to begin a delivery with. `mjml` is the source of `html_body` when the layout language was used."""

    __tablename__ = "template"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    name: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(500), server_default="")
    text_body: Mapped[str] = mapped_column(Text, server_default="")
    html_body: Mapped[str] = mapped_column(Text, server_default="")
    mjml: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]


class DkimKey(Base):
    """A signing key of a sender's domain; the newest active one signs."""

    __tablename__ = "dkim_key"
    __table_args__ = (Index("uq_dkim_key_selector", "domain", "selector", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    domain: Mapped[str] = mapped_column(String(253))
    selector: Mapped[str] = mapped_column(String(63))
    # PKCS #8, PEM, RSA of 2,048 bits.
    private_pem: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MailSecret(Base):
    """The one key of this tenant's links and sender addresses. Made at first use: the template would share it."""

    __tablename__ = "mail_secret"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


class MailAllowance(Base):
    """The tenant's token bucket for mails per hour, shared by all workers; one row."""

    __tablename__ = "mail_allowance"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    tokens: Mapped[float] = mapped_column(Double)
    filled_at: Mapped[datetime]
    # Mails of the clock hour that begins at `hour` and of the one before, for the dashboard.
    hour: Mapped[datetime | None]
    this_hour: Mapped[int] = mapped_column(server_default=text("0"))
    last_hour: Mapped[int] = mapped_column(server_default=text("0"))
