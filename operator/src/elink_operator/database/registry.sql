-- The registry of one server: written by the operator, read by the app. Contract: docs/architecture.md, section 5.
-- Every statement may run again.
CREATE TABLE IF NOT EXISTS tenant (
    name text PRIMARY KEY,
    uid text NOT NULL,
    host text NOT NULL UNIQUE,
    database text NOT NULL UNIQUE,
    role text NOT NULL,
    directory text NOT NULL UNIQUE,
    state text NOT NULL CONSTRAINT tenant_state_check
        CHECK (state IN ('Active', 'Suspended', 'Cancelled', 'Maintenance')),
    state_reason text NOT NULL DEFAULT '',
    display_name text NOT NULL,
    language text NOT NULL CHECK (language IN ('ja', 'en')),
    limits jsonb NOT NULL,
    contacts jsonb NOT NULL DEFAULT '{}',
    mail jsonb NOT NULL DEFAULT '{}',
    master_email text NOT NULL,
    setup_token_sha256 text NOT NULL DEFAULT '',
    setup_expires_at timestamptz,
    spec_hash text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- A registry that was made before there was Maintenance. The new check is wider: no row has to be looked at.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'tenant'::regclass AND conname = 'tenant_state_check'
                   AND strpos(pg_get_constraintdef(oid), 'Maintenance') > 0) THEN
        ALTER TABLE tenant DROP CONSTRAINT IF EXISTS tenant_state_check, ADD CONSTRAINT tenant_state_check
            CHECK (state IN ('Active', 'Suspended', 'Cancelled', 'Maintenance')) NOT VALID;
    END IF;
END
$$;
CREATE TABLE IF NOT EXISTS delivery_wakeup (
    tenant text NOT NULL REFERENCES tenant (name) ON DELETE CASCADE,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, due_at)
);
CREATE INDEX IF NOT EXISTS delivery_wakeup_due_at ON delivery_wakeup (due_at);
-- What the operator tells a tenant (ElinkNotice): one row per tenant. `id` is the notice's uid, so that a new one of an
-- old name is unread again. Texts are plain. A withdrawn notice stays in the list of past ones.
CREATE TABLE IF NOT EXISTS notice (
    tenant text NOT NULL REFERENCES tenant (name) ON DELETE CASCADE,
    id text NOT NULL CHECK (id ~ '^[a-z0-9]([-a-z0-9]{0,98}[a-z0-9])?$'),
    type text NOT NULL CHECK (type IN ('Change', 'Maintenance', 'Incident', 'Vulnerability', 'Relocation')),
    severity text NOT NULL CHECK (severity IN ('Info', 'Warning', 'Critical')),
    title_ja text NOT NULL DEFAULT '',
    title_en text NOT NULL DEFAULT '',
    body_ja text NOT NULL DEFAULT '',
    body_en text NOT NULL DEFAULT '',
    starts_at timestamptz,
    detected_at timestamptz,
    published_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_at timestamptz,
    PRIMARY KEY (tenant, id),
    CHECK (title_ja || title_en <> '')
);
CREATE INDEX IF NOT EXISTS notice_published_at ON notice (tenant, published_at DESC);

-- Which database took the place of which (oids; `before` is NULL when there was none), so that a restored neighbour is
-- not taken for a harmed one. `source`: the name under which it waited. Not for the app.
CREATE TABLE IF NOT EXISTS database_switch (
    uid text NOT NULL,
    source text NOT NULL,
    before int8,
    after int8 NOT NULL,
    switched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (uid, source)
);

-- The pace of mails to each recipient domain over all workers of the server: one token bucket per row, emptied by the app.
-- `domain` is a hash: whom tenants write to is theirs. After a crash it is empty, which means full buckets.
CREATE UNLOGGED TABLE IF NOT EXISTS domain_pace (
    domain int8 PRIMARY KEY,
    tokens float8 NOT NULL,
    granted int4 NOT NULL,       -- to the last one who asked
    filled_at timestamptz NOT NULL
);

-- Planner statistics are samples of the rows, which outlive them: mail addresses of an erased tenant would stay there.
-- Tables of this size need none.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT attrelid::regclass AS of_table, attname FROM pg_attribute
        WHERE attrelid = ANY ('{tenant,delivery_wakeup,notice,database_switch}'::regclass[])
          AND attnum > 0 AND NOT attisdropped AND atttypid IN ('text'::regtype, 'jsonb'::regtype)
          AND attstattarget IS DISTINCT FROM 0
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0', found.of_table, found.attname);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION notify_registry() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_notify('elink_registry', coalesce(NEW.name, OLD.name));
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE ON tenant
    FOR EACH ROW EXECUTE FUNCTION notify_registry();

-- A row that somebody else changes loses its spec_hash: the operator finds that at its next look, and writes it again.
CREATE OR REPLACE FUNCTION forget_spec_hash() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.spec_hash := '';
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER tenant_drifted BEFORE UPDATE ON tenant
    FOR EACH ROW
    WHEN (NEW.spec_hash = OLD.spec_hash AND to_jsonb(NEW) - 'updated_at' IS DISTINCT FROM to_jsonb(OLD) - 'updated_at')
    EXECUTE FUNCTION forget_spec_hash();

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO elink_app;
GRANT SELECT ON tenant, notice TO elink_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON delivery_wakeup, domain_pace TO elink_app;
-- For the server's own backups: nothing of the customer but the tenant's name and addresses of its service. The columns
-- are those of hack/images/backup/elink_backup/server_data.py.
GRANT USAGE ON SCHEMA public TO elink_backup;
GRANT SELECT (name, uid, host, database, role, directory, state, language, limits, spec_hash, updated_at)
    ON tenant TO elink_backup;
GRANT SELECT ON delivery_wakeup, notice, database_switch TO elink_backup;
