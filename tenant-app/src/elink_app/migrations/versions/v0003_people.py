"""Roles, users, one-time links, API tokens, second factor, transfer of the master.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def _account(table: str, column: str = "account_id") -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    name = op.f(f"fk_{table}_{column}_account")
    return (
        sa.Column(column, sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint([column], ["account.id"], name=name, ondelete="CASCADE"),
    )


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


def upgrade() -> None:
    op.alter_column("account", "password_hash", existing_type=sa.Text(), nullable=True)
    op.add_column("account", _flag("must_change_password"))
    op.add_column(
        "account", sa.Column("attributes", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column("account", sa.Column("totp_secret", sa.String(length=64), nullable=True))
    op.add_column("account", sa.Column("totp_pending", sa.String(length=64), nullable=True))
    op.add_column("account", sa.Column("totp_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("session", _flag("awaits_factor"))
    _create_roles()
    _create_people()
    _create_security()


def _create_roles() -> None:
    op.create_table(
        "role",
        _id(),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("permissions", sa.ARRAY(sa.Text()), nullable=False),
        _now("created_at"),
        _key("role", "id"),
    )
    op.create_index("uq_role_name", "role", ["name"], unique=True)
    op.create_table(
        "account_role",
        *_account("account_role"),
        sa.Column("role_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_id"], ["role.id"], name=op.f("fk_account_role_role_id_role"), ondelete="CASCADE"
        ),
        _key("account_role", "account_id", "role_id"),
    )
    op.create_index("ix_account_role_role_id", "account_role", ["role_id"])


def _create_people() -> None:
    op.create_table(
        "user_field",
        _id(),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("label", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        _flag("required"),
        sa.Column("choices", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _key("user_field", "id"),
    )
    op.create_index("uq_user_field_key", "user_field", ["key"], unique=True)
    op.create_table(
        "api_token",
        _id(),
        *_account("api_token"),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", sa.ARRAY(sa.Text()), nullable=False),
        _now("created_at"),
        _moment("expires_at"),
        _moment("last_used_at", nullable=True),
        _key("api_token", "id"),
    )
    op.create_index("uq_api_token_secret_sha256", "api_token", ["secret_sha256"], unique=True)
    op.create_index("ix_api_token_account_id", "api_token", ["account_id"])


def _create_security() -> None:
    op.create_table(
        "account_link",
        _id(),
        *_account("account_link"),
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        _now("created_at"),
        _moment("expires_at"),
        _key("account_link", "id"),
    )
    op.create_index("uq_account_link_token_sha256", "account_link", ["token_sha256"], unique=True)
    op.create_index("uq_account_link_account_id_purpose", "account_link", ["account_id", "purpose"], unique=True)
    op.create_index("ix_account_link_expires_at", "account_link", ["expires_at"])
    op.create_table(
        "old_password",
        _id(),
        *_account("old_password"),
        sa.Column("password_hash", sa.Text(), nullable=False),
        _key("old_password", "id"),
    )
    op.create_index("ix_old_password_account_id", "old_password", ["account_id", "id"])
    op.create_table(
        "recovery_code",
        *_account("recovery_code"),
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        _key("recovery_code", "account_id", "code_sha256"),
    )
    op.create_table(
        "security_rules",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        _flag("second_factor_for_all"),
        sa.CheckConstraint("id = 1", name=op.f("ck_security_rules_one_row")),
        _key("security_rules", "id"),
    )
    op.execute("INSERT INTO security_rules (id) VALUES (1)")
    op.create_table(
        "master_offer",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        *_account("master_offer", "from_id"),
        *_account("master_offer", "to_id"),
        _moment("expires_at"),
        sa.CheckConstraint("id = 1", name=op.f("ck_master_offer_one_row")),
        _key("master_offer", "id"),
    )


def downgrade() -> None:
    for table in (
        "master_offer", "security_rules", "recovery_code", "old_password", "account_link", "api_token", "user_field",
        "account_role", "role",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_column("session", "awaits_factor")
    for column in ("totp_step", "totp_pending", "totp_secret", "attributes", "must_change_password"):
        op.drop_column("account", column)
    # Nobody who was invited and never came can log in; the release before knows no account without a password.
    op.execute("DELETE FROM account WHERE password_hash IS NULL")
    op.alter_column("account", "password_hash", existing_type=sa.Text(), nullable=False)
