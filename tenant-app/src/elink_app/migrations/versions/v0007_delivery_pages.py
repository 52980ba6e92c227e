"""Drafts and their history, versions of templates, images, and the settings of the sender.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _text(name: str, length: int | None = None, default: str | None = None) -> sa.Column[object]:
    kind = sa.Text() if length is None else sa.String(length=length)
    return sa.Column(name, kind, server_default=default, nullable=False)


def upgrade() -> None:
    _create_templates()
    _create_senders()
    _create_drafts()


def _create_templates() -> None:
    op.create_table(
        "template_version",
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("name", 200),
        _text("subject", 500),
        _text("text_body"),
        _text("layout", 10),
        _text("source"),
        _text("saved_by_name", 320),
        _now("saved_at"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["template.id"], name=op.f("fk_template_version_template_id_template"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("template_id", "version", name=op.f("pk_template_version")),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _text("name", 40),
        _text("title", 200),
        _text("media_type", 20),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _text("uploaded_by_name", 320),
        _now("uploaded_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
    )
    op.create_index("uq_image_name", "image", ["name"], unique=True)


def _create_senders() -> None:
    op.create_table(
        "sender_settings",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        _text("organisation", 200, ""),
        _text("postal_address", None, ""),
        _text("contact", 320, ""),
        sa.Column("approval_required", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("hold_minutes", sa.SmallInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("type_count_above", sa.BigInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("resend_unknown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _now("updated_at"),
        sa.CheckConstraint("id = 1", name=op.f("ck_sender_settings_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_settings")),
    )
    op.create_table(
        "sender_address",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _text("email", 320),
        _text("email_key", 320),
        _text("name", 100, ""),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sender_address")),
    )
    op.create_index("uq_sender_address_email_key", "sender_address", ["email_key"], unique=True)


def _create_drafts() -> None:
    op.create_table(
        "delivery_draft",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=True),
        sa.Column("segment_id", sa.BigInteger(), nullable=True),
        _text("text_body", None, ""),
        _text("layout", 10, "none"),
        _text("source", None, ""),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_draft_delivery_id_delivery"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["template.id"], name=op.f("fk_delivery_draft_template_id_template"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery_draft")),
    )
    op.create_table(
        "delivery_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        _now("at"),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        _text("actor", 320),
        _text("action", 40),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_event_delivery_id_delivery"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_event")),
    )
    op.create_index("ix_delivery_event_delivery_id", "delivery_event", ["delivery_id", "id"], unique=False)


def downgrade() -> None:
    for table in (
        "delivery_event",
        "delivery_draft",
        "sender_address",
        "sender_settings",
        "image",
        "template_version",
    ):
        op.drop_table(table)
