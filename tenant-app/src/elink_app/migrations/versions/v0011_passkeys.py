"""Passkeys with their challenges; mails counted per hour; rights of labels belong to roles that exist.

Revision ID: 0011
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_ZERO = sa.text("0")


def upgrade() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("user_handle", sa.LargeBinary(), nullable=False),
        sa.Column("transports", postgresql.ARRAY(sa.String(length=20)), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_passkey_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
    )
    op.create_index("ix_passkey_account_id", "passkey", ["account_id"])
    op.create_index("uq_passkey_credential_id", "passkey", ["credential_id"], unique=True)
    op.create_table(
        "passkey_challenge",
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("browser_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("user_handle", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_passkey_challenge_account_id_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("challenge", name=op.f("pk_passkey_challenge")),
    )
    op.create_index("ix_passkey_challenge_expires_at", "passkey_challenge", ["expires_at"])
    op.add_column("mail_allowance", sa.Column("hour", sa.DateTime(timezone=True), nullable=True))
    op.add_column("mail_allowance", sa.Column("this_hour", sa.BigInteger(), server_default=_ZERO, nullable=False))
    op.add_column("mail_allowance", sa.Column("last_hour", sa.BigInteger(), server_default=_ZERO, nullable=False))
    op.execute("DELETE FROM label_right WHERE role_id NOT IN (SELECT id FROM role)")
    op.create_foreign_key(
        op.f("fk_label_right_role_id_role"), "label_right", "role", ["role_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index("ix_label_right_role_id", "label_right", ["role_id"])


def downgrade() -> None:
    op.drop_index("ix_label_right_role_id", "label_right")
    op.drop_constraint(op.f("fk_label_right_role_id_role"), "label_right", type_="foreignkey")
    for column in ("last_hour", "this_hour", "hour"):
        op.drop_column("mail_allowance", column)
    op.drop_table("passkey_challenge")
    op.drop_table("passkey")
