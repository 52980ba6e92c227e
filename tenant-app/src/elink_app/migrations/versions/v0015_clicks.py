"""Links of deliveries may be counted.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ZERO = sa.text("0")


def upgrade() -> None:
    op.add_column("delivery", sa.Column("count_clicks", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("delivery", sa.Column("clicks_ended_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "delivery_link",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("human", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("machine", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_link_delivery_id_delivery"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_link")),
    )
    op.create_table(
        "delivery_click",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("human_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id", "number"],
            ["delivery_link.delivery_id", "delivery_link.number"],
            name=op.f("fk_delivery_click_delivery_id_number_delivery_link"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "recipient_id", "number", name=op.f("pk_delivery_click")),
    )


def downgrade() -> None:
    op.drop_table("delivery_click")
    op.drop_table("delivery_link")
    op.drop_column("delivery", "clicks_ended_at")
    op.drop_column("delivery", "count_clicks")
