"""Own fields, labels, consent and suppression, segments, merges.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from elink_app.text import grams, search_form

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LIVE = sa.text("deleted_at IS NULL")
_BATCH = 1000

# An importer that writes the right tag_ids at once costs no second version of the row: the trigger finds no difference.
TAGS_FUNCTION = """
CREATE FUNCTION copy_address_tags() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE address SET tag_ids = now.ids
    FROM (
        SELECT touched.address_id,
            coalesce(array_agg(t.tag_id ORDER BY t.tag_id) FILTER (WHERE t.tag_id IS NOT NULL), '{}') AS ids
        FROM (SELECT DISTINCT address_id FROM changed) AS touched
        LEFT JOIN address_tag AS t ON t.address_id = touched.address_id
        GROUP BY touched.address_id
    ) AS now
    WHERE address.id = now.address_id AND address.tag_ids IS DISTINCT FROM now.ids;
    RETURN NULL;
END
$$
"""
TAGS_TRIGGERS = (
    "CREATE TRIGGER copy_address_tags_insert AFTER INSERT ON address_tag REFERENCING NEW TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION copy_address_tags()",
    "CREATE TRIGGER copy_address_tags_delete AFTER DELETE ON address_tag REFERENCING OLD TABLE AS changed "
    "FOR EACH STATEMENT EXECUTE FUNCTION copy_address_tags()",
)
CONSENT_FUNCTIONS = (
    """
CREATE FUNCTION apply_consent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO consent_current AS current (email_key, kind, at, consent_id)
    SELECT DISTINCT ON (email_key) email_key, kind, at, id FROM added ORDER BY email_key, at DESC, id DESC
    ON CONFLICT (email_key) DO UPDATE SET kind = excluded.kind, at = excluded.at, consent_id = excluded.consent_id
    WHERE (excluded.at, excluded.consent_id) > (current.at, current.consent_id);
    RETURN NULL;
END
$$
""",
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'lines of % are never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
""",
)
CONSENT_TRIGGERS = (
    "CREATE TRIGGER apply_consent AFTER INSERT ON consent REFERENCING NEW TABLE AS added "
    "FOR EACH STATEMENT EXECUTE FUNCTION apply_consent()",
    "CREATE TRIGGER consent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON consent "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    _extend_addresses()
    _create_labels_and_attributes()
    _create_consent()
    _create_segments_and_merges()
    _fill_new_columns()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), server_default="", nullable=False)


def _extend_addresses() -> None:
    for name in ("name_form", "company_form", "phone_digits"):
        op.add_column("address", _text(name))
    op.add_column(
        "address", sa.Column("attributes", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column(
        "address",
        sa.Column("tag_ids", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("tag", sa.Column("is_label", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.execute(TAGS_FUNCTION)
    for trigger in TAGS_TRIGGERS:
        op.execute(trigger)


def _create_labels_and_attributes() -> None:
    op.create_table(
        "label_right",
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("role_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.ForeignKeyConstraint(["tag_id"], ["tag.id"], name=op.f("fk_label_right_tag_id_tag"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tag_id", "role_id", "action", name=op.f("pk_label_right")),
    )
    op.create_table(
        "attribute",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("label", sa.String(length=50), nullable=False),
        sa.Column("type", sa.String(length=10), nullable=False),
        sa.Column("required", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("choices", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("in_list", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribute")),
    )
    op.create_index("uq_attribute_key", "attribute", ["key"], unique=True)


def _create_consent() -> None:
    op.create_table(
        "consent",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email_key", sa.String(length=320), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("how", sa.String(length=100), server_default="", nullable=False),
        sa.Column("source", sa.String(length=300), server_default="", nullable=False),
        sa.Column("wording", sa.Text(), server_default="", nullable=False),
        sa.Column("recorded_by", sa.String(length=320), server_default="", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index("ix_consent_email_key", "consent", ["email_key", sa.literal_column("id DESC")])
    op.create_table(
        "consent_current",
        sa.Column("email_key", sa.String(length=320), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("consent_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("email_key", name=op.f("pk_consent_current")),
    )
    for statement in (*CONSENT_FUNCTIONS, *CONSENT_TRIGGERS):
        op.execute(statement)
    op.create_table(
        "suppression",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email_key", sa.String(length=320), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.String(length=300), server_default="", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.String(length=320), server_default="", nullable=False),
        sa.Column("lifted_why", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppression")),
    )
    op.create_index("ix_suppression_email_key", "suppression", ["email_key"])
    op.create_index(
        "uq_suppression_email_key_reason",
        "suppression",
        ["email_key", "reason"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )


def _create_segments_and_merges() -> None:
    op.create_table(
        "segment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("tree", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment")),
    )
    op.create_index("uq_segment_key", "segment", ["key"], unique=True)
    op.create_table(
        "address_merge",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kept_id", sa.BigInteger(), nullable=False),
        sa.Column("kept_version", sa.BigInteger(), nullable=False),
        sa.Column("merged_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["kept_id"], ["address.id"], name=op.f("fk_address_merge_kept_id_address"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_merge")),
    )
    op.create_index("ix_address_merge_kept_id", "address_merge", ["kept_id"])
    op.create_index("ix_address_merge_at", "address_merge", ["at"])


def _fill_new_columns() -> None:
    """The form of comparison is made in Python only: addresses that are there already are read and written once."""
    connection = op.get_bind()
    read = sa.text(
        "SELECT id, name, company, notes, search_text, regexp_replace(phone, '[^0-9]', '', 'g') AS digits "
        "FROM address WHERE id > :after ORDER BY id LIMIT :size"
    )
    write = sa.text(
        "UPDATE address SET name_form = :name, company_form = :company, phone_digits = :digits, search_text = :text, "
        "search_grams = CAST(:grams AS text[]) WHERE id = :id"
    ).bindparams(sa.bindparam("grams", type_=postgresql.ARRAY(sa.Text())))
    after = 0
    while rows := connection.execute(read, {"after": after, "size": _BATCH}).all():
        after = rows[-1].id
        values = []
        for row in rows:
            forms = [*row.search_text.split("\n"), search_form(row.notes)]
            forms = list(dict.fromkeys(form for form in forms if form))
            values.append({
                "id": row.id, "name": search_form(row.name), "company": search_form(row.company),
                "digits": row.digits, "text": "\n".join(forms),
                "grams": sorted({gram for form in forms for gram in grams(form)}),
            })  # fmt: skip
        connection.execute(write, values)
    connection.execute(
        sa.text(
            "UPDATE address SET tag_ids = t.ids FROM (SELECT address_id, array_agg(tag_id ORDER BY tag_id) AS ids "
            "FROM address_tag GROUP BY address_id) AS t WHERE address.id = t.address_id"
        )
    )
    op.create_index("ix_address_tag_ids", "address", ["tag_ids"], postgresql_using="gin", postgresql_where=LIVE)
    op.create_index(
        "ix_address_attributes",
        "address",
        ["attributes"],
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
        postgresql_where=LIVE,
    )
    op.create_index("ix_address_name_form", "address", ["name_form", "company_form"], postgresql_where=LIVE)
    op.create_index(
        "ix_address_phone_digits",
        "address",
        ["phone_digits"],
        postgresql_where=sa.text("deleted_at IS NULL AND phone_digits <> ''"),
    )


def downgrade() -> None:
    for table in ("address_merge", "segment", "suppression", "consent_current", "consent", "attribute", "label_right"):
        op.drop_table(table)
    for verb in ("insert", "delete"):
        op.execute(f"DROP TRIGGER copy_address_tags_{verb} ON address_tag")
    for function in ("copy_address_tags", "apply_consent", "refuse_change"):
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_column("tag", "is_label")
    for column in ("tag_ids", "attributes", "phone_digits", "company_form", "name_form"):
        op.drop_column("address", column)
