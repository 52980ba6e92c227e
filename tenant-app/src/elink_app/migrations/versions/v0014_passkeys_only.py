"""The master may accept passkeys only.

Revision ID: 0014
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "security_rules", sa.Column("passkeys_only", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )


def downgrade() -> None:
    # The release before knows one rule only: what it had is left.
    op.drop_column("security_rules", "passkeys_only")
