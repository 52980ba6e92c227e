"""Imports in preparation, what was learned from earlier ones, refused rows, and images for undoing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class ImportFile(Base):
    """An uploaded file on its way into the address book."""

    __tablename__ = "import_file"
    __table_args__ = (Index("ix_import_file_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # Its random name in the tenant's directory. What the user called it is for showing only.
    file: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    size: Mapped[int]
    account_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # How it is read, which column is what, what happens to addresses that exist: transfer.plan.Plan.
    plan: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # Null until it was read to its end.
    row_count: Mapped[int | None]


class ImportMapping(Base):
    """How the columns of files with this heading were understood last."""

    __tablename__ = "import_mapping"

    # SHA-256 of the heading.
    heading: Mapped[str] = mapped_column(String(64), primary_key=True)
    columns: Mapped[list[str]] = mapped_column(ARRAY(String(40)))
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ImportBadRow(Base):
    """A row that was not taken, with every reason; it can be mended and imported again."""

    __tablename__ = "import_bad_row"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    # Counts the rows that hold anything, from 1, without the heading.
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    cells: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    # A list of transfer.columns.Reason.
    reasons: Mapped[list[Any]] = mapped_column(JSONB)


class BulkChange(Base):
    """What an address was before a job touched it; `before` is null for one that the job made."""

    __tablename__ = "bulk_change"
    __table_args__ = (Index("ix_bulk_change_address_id", "address_id"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    address_id: Mapped[int] = mapped_column(ForeignKey("address.id", ondelete="CASCADE"), primary_key=True)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The version that the job left: whoever saved since keeps what they saved.
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    # When the job deleted it; null when it did not. Whoever deletes it again later wants it gone.
    deleted_at: Mapped[datetime | None]
