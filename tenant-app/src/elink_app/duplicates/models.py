"""What was merged, so that it can be undone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Merge(Base):
    """One merge: the address that was kept, as it was before, and those that were deleted for it."""

    __tablename__ = "address_merge"
    __table_args__ = (Index("ix_address_merge_kept_id", "kept_id"), Index("ix_address_merge_at", "at"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kept_id: Mapped[int] = mapped_column(ForeignKey("address.id", ondelete="CASCADE"))
    # The version that the merge wrote: undoing is refused once somebody saved over it.
    kept_version: Mapped[int]
    merged_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    undone_at: Mapped[datetime | None]
