"""The ledger of consent, what it amounts to now, and the suppression list. All by e-mail key, not by address."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Identity, Index, String, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class Consent(Base):
    """One line of the ledger. Lines are added only: a trigger refuses any other change."""

    __tablename__ = "consent"
    __table_args__ = (
        Index("ix_consent_email_key", "email_key", text("id DESC")),
        Index("ix_consent_job_id", "job_id", "id", postgresql_where=text("job_id IS NOT NULL")),
        Index("uq_consent_retracts", "retracts", unique=True, postgresql_where=text("retracts IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(320))
    # given | withdrawn | retracted: the line `retracts` was recorded by mistake and counts for nothing
    kind: Mapped[str] = mapped_column(String(10))
    # When the person said so, which may be long before it was recorded.
    at: Mapped[datetime]
    how: Mapped[str] = mapped_column(String(100), server_default="")
    source: Mapped[str] = mapped_column(String(300), server_default="")
    wording: Mapped[str] = mapped_column(Text, server_default="")
    recorded_by: Mapped[str] = mapped_column(String(320), server_default="")
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The import that recorded it.
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    retracts: Mapped[int | None] = mapped_column(BigInteger)


class ConsentCurrent(Base):
    """What counts now for an e-mail: of the lines not retracted the newest by `at`. Written by the ledger's trigger."""

    __tablename__ = "consent_current"

    email_key: Mapped[str] = mapped_column(String(320), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime]
    consent_id: Mapped[int]


# `lifted_by` and `lifted_why` of an entry that holds behind another one. No account has such a name.
COVERED_BY, COVERED_WHY = "elink", "covered"


class Suppression(Base):
    """A reason why an e-mail gets no mail. Several may hold at once; each is lifted by itself.

    Of one reason the newest entry stands for all: accounts that may not know of each other's have one each, and the
    elder ones are covered. When the newest is lifted, the one before comes forward.
    """

    __tablename__ = "suppression"
    __table_args__ = (
        Index(
            "uq_suppression_email_key_reason",
            "email_key",
            "reason",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
        Index("ix_suppression_email_key", "email_key"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(320))
    # unsubscribed | bounced | complained | blocked
    reason: Mapped[str] = mapped_column(String(20))
    detail: Mapped[str] = mapped_column(Text, server_default="")
    source: Mapped[str] = mapped_column(String(300), server_default="")
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str] = mapped_column(String(320), server_default="")
    lifted_why: Mapped[str] = mapped_column(Text, server_default="")

    @property
    def holds(self) -> bool:
        """True until somebody lifts it."""
        return self.lifted_at is None or (self.lifted_by, self.lifted_why) == (COVERED_BY, COVERED_WHY)
