"""Mails that wait, and for a while those that left."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class OutboxMail(Base):
    """One mail to one recipient. Texts are emptied once it has left or was given up: they may hold one-time links."""

    __tablename__ = "outbox_mail"
    __table_args__ = (
        Index("ix_outbox_mail_next_at", "next_at", postgresql_where=text("done_at IS NULL")),
        Index("ix_outbox_mail_done_at", "done_at", postgresql_where=text("done_at IS NOT NULL")),
        Index("ix_outbox_mail_account_id", "account_id", "id", postgresql_where=text("account_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    # Whose account it is about, when it is about one: it is not sent to somebody who was removed.
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    recipient: Mapped[str] = mapped_column(String(320))
    subject: Mapped[str] = mapped_column(Text)
    text_body: Mapped[str] = mapped_column(Text)
    html_body: Mapped[str] = mapped_column(Text, server_default="")
    headers: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    # A list of `attachments.Attachment`.
    attachments: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    # Also the end of a sender's lease: a mail in somebody's hands is not due.
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    done_at: Mapped[datetime | None]
    # Empty, or the server's words about the last failure.
    error: Mapped[str] = mapped_column(Text, server_default="")
    sent: Mapped[bool] = mapped_column(server_default=text("false"))
