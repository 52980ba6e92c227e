"""One table for every kind of long work."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Identity, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class JobState(StrEnum):
    """What becomes of a job. `queued` and `running` are under way."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """`cursor` says how far the work is; it is written in the transaction that does the work up to there."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_open", "lease_until", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_job_account_id", "account_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20), server_default=JobState.QUEUED.value)
    # What is asked for; never changed.
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    cursor: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    # Counts for people; also the outcome.
    result: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    done: Mapped[int] = mapped_column(server_default=text("0"))
    # 0 = not known yet.
    total: Mapped[int] = mapped_column(server_default=text("0"))
    # Why it failed: an English msgid and its parameters.
    error: Mapped[str] = mapped_column(Text, server_default="")
    error_params: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    # No foreign key: a job outlives its author.
    account_id: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(320), server_default="")
    address: Mapped[str] = mapped_column(String(45), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_until: Mapped[datetime] = mapped_column(server_default=func.now())
    # Which process holds the lease.
    holder: Mapped[str] = mapped_column(String(40), server_default="")
    cancel_asked: Mapped[bool] = mapped_column(server_default=text("false"))
