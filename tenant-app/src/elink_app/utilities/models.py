"""Runs of utility programs, and the suppressions that a run added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class UtilityRun(Base):
    """A program with what it was asked for: tried (no job yet), then run. Stays as the log when its job is gone."""

    __tablename__ = "utility_run"
    __table_args__ = (Index("ix_utility_run_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    program: Mapped[str] = mapped_column(String(20))
    # A utilities.schemas.Program, with the segment's tree as it was. Lists and values go with the undo window.
    request: Mapped[dict[str, Any]] = mapped_column(JSONB)
    # How many the trial found; the run changes no more than were there when it was started.
    count: Mapped[int]
    # No foreign keys: a run outlives its author and its jobs.
    job_id: Mapped[int | None]
    undo_job_id: Mapped[int | None]
    account_id: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(320), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    undone_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    undo_result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))


class UtilitySuppression(Base):
    """A suppression that a job added, and no other: only these are lifted when it is undone."""

    __tablename__ = "utility_suppression"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    suppression_id: Mapped[int] = mapped_column(ForeignKey("suppression.id", ondelete="CASCADE"), primary_key=True)
