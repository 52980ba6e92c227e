"""Utility programs: their runs, and what undoing one needs to know.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EMPTY = sa.text("'{}'")
_NOW = sa.text("now()")


def upgrade() -> None:
    op.add_column("bulk_change", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "utility_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("program", sa.String(length=20), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("undo_job_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=320), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.Column("undo_result", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_utility_run")),
    )
    op.create_index("ix_utility_run_created_at", "utility_run", ["created_at"])
    op.create_table(
        "utility_suppression",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("suppression_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_utility_suppression_job_id_job"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["suppression_id"],
            ["suppression.id"],
            name=op.f("fk_utility_suppression_suppression_id_suppression"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "suppression_id", name=op.f("pk_utility_suppression")),
    )


def downgrade() -> None:
    op.drop_table("utility_suppression")
    op.drop_table("utility_run")
    op.drop_column("bulk_change", "deleted_at")
