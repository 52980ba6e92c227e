"""Files that go with a delivery and with its test mails.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("delivery", "outbox_mail"):
        column = sa.Column("attachments", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False)
        op.add_column(table, column)


def downgrade() -> None:
    for table in ("delivery", "outbox_mail"):
        op.drop_column(table, "attachments")
