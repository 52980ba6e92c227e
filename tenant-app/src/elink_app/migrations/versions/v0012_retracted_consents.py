"""Consents that an import recorded can be taken back by a line of their own.

Revision ID: 0012
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A line that was taken back counts for nothing, nor does the one that takes it back: what counted before counts again.
_APPLY = """
CREATE OR REPLACE FUNCTION apply_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO consent_current AS current (email_key, kind, at, consent_id)
    SELECT DISTINCT ON (email_key) email_key, kind, at, id FROM added WHERE kind <> 'retracted'
    ORDER BY email_key, at DESC, id DESC
    ON CONFLICT (email_key) DO UPDATE SET kind = excluded.kind, at = excluded.at, consent_id = excluded.consent_id
    WHERE (excluded.at, excluded.consent_id) > (current.at, current.consent_id);
    IF EXISTS (SELECT FROM added WHERE kind = 'retracted') THEN
        DELETE FROM consent_current current USING added
        WHERE added.kind = 'retracted' AND current.consent_id = added.retracts;
        INSERT INTO consent_current (email_key, kind, at, consent_id)
        SELECT DISTINCT ON (line.email_key) line.email_key, line.kind, line.at, line.id FROM consent line
        WHERE line.email_key IN (SELECT email_key FROM added WHERE kind = 'retracted') AND line.kind <> 'retracted'
            AND NOT EXISTS (SELECT FROM consent back WHERE back.retracts = line.id)
        ORDER BY line.email_key, line.at DESC, line.id DESC
        ON CONFLICT (email_key) DO NOTHING;
    END IF;
    RETURN NULL;
END
$$
"""
_APPLY_BEFORE = """
CREATE OR REPLACE FUNCTION apply_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO consent_current AS current (email_key, kind, at, consent_id)
    SELECT DISTINCT ON (email_key) email_key, kind, at, id FROM added ORDER BY email_key, at DESC, id DESC
    ON CONFLICT (email_key) DO UPDATE SET kind = excluded.kind, at = excluded.at, consent_id = excluded.consent_id
    WHERE (excluded.at, excluded.consent_id) > (current.at, current.consent_id);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.add_column("consent", sa.Column("job_id", sa.BigInteger(), nullable=True))
    op.add_column("consent", sa.Column("retracts", sa.BigInteger(), nullable=True))
    recorded = sa.text("job_id IS NOT NULL")
    op.create_index("ix_consent_job_id", "consent", ["job_id", "id"], postgresql_where=recorded)
    op.create_index(
        "uq_consent_retracts", "consent", ["retracts"], unique=True, postgresql_where=sa.text("retracts IS NOT NULL")
    )
    op.execute(_APPLY)


def downgrade() -> None:
    op.execute(_APPLY_BEFORE)
    op.drop_index("uq_consent_retracts", "consent")
    op.drop_index("ix_consent_job_id", "consent")
    op.drop_column("consent", "retracts")
    op.drop_column("consent", "job_id")
