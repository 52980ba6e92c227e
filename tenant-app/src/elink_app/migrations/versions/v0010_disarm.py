"""What a restored database must not do by itself.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What was sent after the backup was made cannot be known, so deliveries wait for a person. One that did not begin is
# marked only: nobody but a person starts it. Single mails (invitations, links, tests) are given up with their one-time
# links; whoever needs one asks for it anew.
DISARM = """
CREATE FUNCTION elink_disarm() RETURNS TABLE (deliveries bigint, mails bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE delivery SET state = 'paused', state_reason = 'restored', updated_at = now()
    WHERE state IN ('scheduled', 'holding', 'sending', 'paused') AND (state, state_reason) <> ('paused', 'restored');
    GET DIAGNOSTICS deliveries = ROW_COUNT;
    UPDATE delivery SET state_reason = 'restored', updated_at = now()
    WHERE state IN ('draft', 'awaiting_approval', 'approved') AND state_reason <> 'restored';
    UPDATE outbox_mail
    SET done_at = now(), sent = false, error = 'restored', text_body = '', html_body = '', headers = '{}'
    WHERE done_at IS NULL;
    GET DIAGNOSTICS mails = ROW_COUNT;
    RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    op.execute(DISARM)


def downgrade() -> None:
    op.execute("DROP FUNCTION elink_disarm()")
