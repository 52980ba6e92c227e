"""Forms that were sent, whom single mails are about, and deleted fields of users that can be brought back.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sent_form",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("form_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("led_to", sa.String(length=200), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_sent_form_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sent_form")),
    )
    op.create_index("uq_sent_form_account_id_form_sha256", "sent_form", ["account_id", "form_sha256"], unique=True)
    op.add_column("outbox_mail", sa.Column("account_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_outbox_mail_account_id_account"), "outbox_mail", "account", ["account_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index(
        "ix_outbox_mail_account_id", "outbox_mail", ["account_id", "id"],
        postgresql_where=sa.text("account_id IS NOT NULL"),
    )  # fmt: skip
    op.add_column("user_field", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "user_field",
        sa.Column("deleted_values", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )


def downgrade() -> None:
    op.execute("DELETE FROM user_field WHERE deleted_at IS NOT NULL")
    op.drop_column("user_field", "deleted_values")
    op.drop_column("user_field", "deleted_at")
    op.drop_column("outbox_mail", "account_id")
    op.drop_table("sent_form")
