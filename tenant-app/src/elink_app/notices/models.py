"""Who has seen which notice. The notices themselves are the registry's."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class NoticeReceipt(Base):
    """One account has read or acknowledged one notice."""

    __tablename__ = "notice_receipt"

    notice_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    # No foreign key: the receipt outlives the account.
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    actor: Mapped[str] = mapped_column(String(320))
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
