"""Deliveries, their recipients, templates, and the keys that sign mails and links.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_COUNTS = ("total", "accepted", "refused", "bounced", "skipped", "unknown")


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, server_default=sa.text("now()") if now else None, nullable=not now)


def _text(name: str, length: int | None = None, default: str | None = "") -> sa.Column[object]:
    kind = sa.Text() if length is None else sa.String(length=length)
    return sa.Column(name, kind, server_default=default, nullable=False)


def upgrade() -> None:
    _create_delivery()
    _create_recipients()
    _create_templates()
    _create_keys()


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        _text("name", 200, None),
        _text("category", 10, "notice"),
        _text("state", 20, "draft"),
        _text("state_reason", 40),
        _text("subject", 500),
        _text("text_body"),
        _text("html_body"),
        _text("from_name", 100),
        _text("from_address", 320),
        _text("reply_to", 320),
        sa.Column("segment", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("fields", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        _moment("scheduled_at"),
        _moment("hold_until"),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        _text("made_by_name", 100),
        _moment("made_at", now=True),
        sa.Column("approved_by", sa.BigInteger(), nullable=True),
        _text("approved_by_name", 100),
        _moment("approved_at"),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=True),
        _moment("frozen_at"),
        _moment("started_at"),
        _moment("finished_at"),
        _moment("updated_at", now=True),
        sa.Column("resend_unknown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in _COUNTS),
        *(
            sa.ForeignKeyConstraint(
                [column], ["account.id"], name=op.f(f"fk_delivery_{column}_account"), ondelete="SET NULL"
            )
            for column in ("made_by", "approved_by")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    moving = sa.text("state IN ('scheduled', 'holding', 'sending')")
    op.create_index("ix_delivery_moving", "delivery", ["id"], postgresql_where=moving)


def _create_recipients() -> None:
    op.create_table(
        "delivery_recipient",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=True),
        _moment("next_at"),
        _moment("updated_at", now=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _text("state", 10, "queued"),
        _text("email", 320, None),
        _text("email_key", 320, None),
        sa.Column("slots", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        _text("reply"),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
            name=op.f("fk_delivery_recipient_delivery_id_delivery"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "id", name=op.f("pk_delivery_recipient")),
        postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05},
    )
    op.create_index("uq_delivery_recipient_email_key", "delivery_recipient", ["delivery_id", "email_key"], unique=True)
    op.create_index(
        "ix_delivery_recipient_next_at",
        "delivery_recipient",
        ["delivery_id", "next_at"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )


def _create_templates() -> None:
    op.create_table(
        "template",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        _text("name", 200, None),
        _text("subject", 500),
        _text("text_body"),
        _text("html_body"),
        _text("mjml"),
        _moment("created_at", now=True),
        _moment("updated_at", now=True),
        _moment("deleted_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template")),
    )


def _create_keys() -> None:
    op.create_table(
        "dkim_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _text("domain", 253, None),
        _text("selector", 63, None),
        _text("private_pem", None, None),
        sa.Column("active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("created_at", now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dkim_key")),
    )
    op.create_index("uq_dkim_key_selector", "dkim_key", ["domain", "selector"], unique=True)
    op.create_table(
        "mail_secret",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_mail_secret_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_secret")),
    )

    op.create_table(
        "mail_allowance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("filled_at", _MOMENT, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_mail_allowance_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_allowance")),
    )


def downgrade() -> None:
    for table in ("mail_allowance", "mail_secret", "dkim_key", "template", "delivery_recipient", "delivery"):
        op.drop_table(table)
