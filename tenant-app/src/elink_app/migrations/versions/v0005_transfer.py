"""Jobs in the background, imports and what undoes them.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_EMPTY = sa.text("'{}'")
_NOW = sa.text("now()")


def upgrade() -> None:
    _create_jobs()
    op.create_table(
        "import_file",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("file", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("plan", postgresql.JSONB(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_file")),
    )
    op.create_index("ix_import_file_created_at", "import_file", ["created_at"])
    op.create_table(
        "import_mapping",
        sa.Column("heading", sa.String(length=64), nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.String(length=40)), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("heading", name=op.f("pk_import_mapping")),
    )
    op.create_table(
        "import_bad_row",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("cells", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reasons", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_import_bad_row_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_import_bad_row")),
    )
    op.create_table(
        "bulk_change",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("before", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_bulk_change_job_id_job"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["address_id"], ["address.id"], name=op.f("fk_bulk_change_address_id_address"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "address_id", name=op.f("pk_bulk_change")),
    )
    op.create_index("ix_bulk_change_address_id", "bulk_change", ["address_id"])


def _create_jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="queued", nullable=False),
        sa.Column("parameters", postgresql.JSONB(), nullable=False),
        sa.Column("cursor", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.Column("result", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("error_params", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(length=320), server_default="", nullable=False),
        sa.Column("address", sa.String(length=45), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("holder", sa.String(length=40), server_default="", nullable=False),
        sa.Column("cancel_asked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index("ix_job_open", "job", ["lease_until"], postgresql_where=sa.text("state IN ('queued', 'running')"))
    op.create_index("ix_job_account_id", "job", ["account_id", "id"])


def downgrade() -> None:
    for table in ("bulk_change", "import_bad_row", "import_mapping", "import_file", "job"):
        op.drop_table(table)
