"""What was sent lately, and where it led."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, func
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class SentForm(Base):
    """A form that an account sent, as a hash: what was typed is not kept."""

    __tablename__ = "sent_form"
    __table_args__ = (Index("uq_sent_form_account_id_form_sha256", "account_id", "form_sha256", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    form_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    # The page that was shown after it.
    led_to: Mapped[str] = mapped_column(String(200))
    sent_at: Mapped[datetime] = mapped_column(server_default=func.now())
