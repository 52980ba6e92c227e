"""A restored database gives no number again that mails sent after the backup bear.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from alembic import op

from elink_app.migrations.versions.v0010_disarm import DISARM

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Links to opt out and senders of bounces name a delivery and a recipient by number. What was sent between the backup
# and its restore is forgotten; the people of later deliveries must not be taken for those of that time. More than
# anybody sends in the life of a generation, and a trifle beside what the tokens have room for.
_GAPS = """
    PERFORM setval(pg_get_serial_sequence('delivery', 'id'),
        nextval(pg_get_serial_sequence('delivery', 'id')) + 1000000);
    PERFORM setval(pg_get_serial_sequence('delivery_recipient', 'id'),
        nextval(pg_get_serial_sequence('delivery_recipient', 'id')) + 1000000000);
"""
_OLD = DISARM.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


def upgrade() -> None:
    op.execute(_OLD.replace("    RETURN NEXT;", f"{_GAPS}    RETURN NEXT;"))


def downgrade() -> None:
    op.execute(_OLD)
