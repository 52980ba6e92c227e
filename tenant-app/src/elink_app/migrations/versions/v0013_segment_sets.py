"""Values and standing of addresses as narrow rows: segments are counted by indexes alone.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_VALUES = """
INSERT INTO address_value (address_id, key, number, text, flag)
SELECT given.id, v.key,
    CASE jsonb_typeof(v.value) WHEN 'number' THEN v.value::numeric END,
    CASE jsonb_typeof(v.value) WHEN 'string' THEN v.value #>> '{}' END,
    CASE jsonb_typeof(v.value) WHEN 'boolean' THEN v.value::boolean END
FROM address AS given CROSS JOIN LATERAL jsonb_each(given.attributes) AS v WHERE given.attributes <> '{}'
"""
_CHANGED = "SELECT n.id, n.attributes FROM new_rows n JOIN old_rows o USING (id) WHERE n.attributes <> o.attributes"
_COPY_VALUES = """
CREATE FUNCTION copy_address_values() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        [of the new];
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM address_value USING old_rows WHERE address_value.address_id = old_rows.id;
    ELSIF EXISTS ([changed]) THEN
        DELETE FROM address_value USING ([changed]) AS changed WHERE address_value.address_id = changed.id;
        [of the changed];
    END IF;
    RETURN NULL;
END
$$
"""
_COPY_VALUES = (
    _COPY_VALUES.replace("[of the new]", _VALUES.replace("address AS given", "new_rows AS given"))
    .replace("[of the changed]", _VALUES.replace("address AS given", f"({_CHANGED}) AS given"))
    .replace("[changed]", _CHANGED)
)
_TRANSITIONS = {
    "insert": "NEW TABLE AS new_rows",
    "update": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "OLD TABLE AS old_rows",
}
_STANDING = """
SELECT e.address_id, c.kind AS consent, EXISTS (
    SELECT FROM suppression s WHERE s.email_key = e.email_key AND s.lifted_at IS NULL
) AS suppressed
FROM address_email e LEFT JOIN consent_current c ON c.email_key = e.email_key WHERE e.position = 0
"""
_FILL_STANDING = """
INSERT INTO address_standing (address_id, consent, suppressed)
SELECT address_id, consent, suppressed FROM ([standing]) AS j WHERE consent IS NOT NULL OR suppressed
""".replace("[standing]", _STANDING)
# Locked before it is judged, so that of two transactions about one address the later one sees what the other wrote.
# An address that is being removed meanwhile is waited for and left out.
_JUDGE = """
CREATE FUNCTION judge_standing(ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO address_standing (address_id)
    SELECT j.address_id FROM ([standing]) AS j JOIN address a ON a.id = j.address_id
    WHERE j.consent IS NOT NULL OR j.suppressed
    ORDER BY j.address_id FOR KEY SHARE OF a ON CONFLICT DO NOTHING;
    PERFORM FROM address_standing WHERE address_id = ANY(ids) ORDER BY address_id FOR UPDATE;
    IF FOUND THEN
        UPDATE address_standing SET consent = j.consent, suppressed = coalesce(j.suppressed, false)
        FROM unnest(ids) AS k (id) LEFT JOIN ([standing]) AS j ON j.address_id = k.id
        WHERE address_standing.address_id = k.id
            AND (address_standing.consent, address_standing.suppressed)
                IS DISTINCT FROM (j.consent, coalesce(j.suppressed, false));
    END IF;
END
$$
""".replace("[standing]", f"{_STANDING} AND e.address_id = ANY(ids)")
_WHO = {
    "judge_standing_of_addresses": """
    SELECT array_agg(DISTINCT address_id) FROM changed WHERE position = 0
""",
    "judge_standing_of_emails": """
    SELECT array_agg(DISTINCT e.address_id) FROM changed c
    JOIN address_email e ON e.email_key = c.email_key AND e.position = 0
""",
}
_JUDGE_CHANGED = """
CREATE FUNCTION [name]() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := ([who]);
BEGIN
    IF ids IS NOT NULL THEN
        PERFORM judge_standing(ids);
    END IF;
    RETURN NULL;
END
$$
"""
_EVENTS = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS changed",
    "update": "AFTER UPDATE ON {table} REFERENCING NEW TABLE AS changed",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS changed",
}
_WATCHED = {
    "address_email": "judge_standing_of_addresses",
    "consent_current": "judge_standing_of_emails",
    "suppression": "judge_standing_of_emails",
}


def upgrade() -> None:
    _create_values()
    _create_standing()
    op.create_index("ix_address_tag_tag_id_address_id", "address_tag", ["tag_id", "address_id"])
    op.drop_index("ix_address_tag_tag_id", "address_tag")
    op.create_index(
        "ix_address_created", "address", ["created_at", "id"], postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index("ix_address_deleted_id", "address", ["id"], postgresql_where=sa.text("deleted_at IS NOT NULL"))


def _create_values() -> None:
    op.create_table(
        "address_value",
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.Numeric(), nullable=True),
        sa.Column("text", sa.Text(collation="C"), nullable=True),
        sa.Column("flag", sa.Boolean(), nullable=True),
    )
    op.execute(_COPY_VALUES)
    # From here on nobody writes an address before the end: what is filled in below misses none.
    for verb, tables in _TRANSITIONS.items():
        op.execute(
            f"CREATE TRIGGER copy_address_values_{verb} AFTER {verb} ON address REFERENCING {tables} "
            "FOR EACH STATEMENT EXECUTE FUNCTION copy_address_values()"
        )
    op.execute(_VALUES)
    op.create_primary_key(op.f("pk_address_value"), "address_value", ["address_id", "key"])
    # Which values go with which key: without it the planner takes a choice that a third bears for a rare one.
    op.execute("CREATE STATISTICS address_value_together (mcv) ON key, number, text FROM address_value")
    op.create_index("ix_address_value", "address_value", ["key", "number", "text", "flag", "address_id"])


def _create_standing() -> None:
    op.create_table(
        "address_standing",
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("consent", sa.String(length=10), nullable=True),
        sa.Column("suppressed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("address_id", name=op.f("pk_address_standing")),
    )
    op.execute(_JUDGE)
    for name, who in _WHO.items():
        op.execute(_JUDGE_CHANGED.replace("[name]", name).replace("[who]", who))
    for table, function in _WATCHED.items():
        for verb, event in _EVENTS.items():
            op.execute(
                f"CREATE TRIGGER judge_standing_{verb} {event.format(table=table)} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
    op.execute(_FILL_STANDING)
    op.create_foreign_key(
        op.f("fk_address_standing_address_id_address"), "address_standing", "address", ["address_id"], ["id"],
        ondelete="CASCADE",
    )  # fmt: skip
    op.create_index("ix_address_standing_consent", "address_standing", ["consent", "address_id"])
    op.create_index(
        "ix_address_standing_suppressed", "address_standing", ["address_id"], postgresql_where=sa.text("suppressed")
    )


def downgrade() -> None:
    for table in _WATCHED:
        for verb in _EVENTS:
            op.execute(f"DROP TRIGGER judge_standing_{verb} ON {table}")
    for verb in _TRANSITIONS:
        op.execute(f"DROP TRIGGER copy_address_values_{verb} ON address")
    for function in ("judge_standing_of_addresses()", "judge_standing_of_emails()", "judge_standing(bigint[])"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION copy_address_values()")
    op.drop_table("address_standing")
    op.drop_table("address_value")
    op.drop_index("ix_address_deleted_id", "address")
    op.drop_index("ix_address_created", "address")
    op.create_index("ix_address_tag_tag_id", "address_tag", ["tag_id"])
    op.drop_index("ix_address_tag_tag_id_address_id", "address_tag")
