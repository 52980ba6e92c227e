#!/bin/sh
# Starts PostgreSQL; the first time it makes the data folder and the operator's role.
#
# Reads the operator's log-in from files (keys username, password); they never appear in arguments or logs.
# The superuser has no password and can log in over the local socket only.
set -eu
umask 077

root=${ELINK_PG_ROOT:-/var/lib/postgresql}
secrets=${ELINK_SECRETS:-/run/secrets/elink}
socket=${ELINK_PG_SOCKET:-/run/postgresql}
me=$(id -un)
data=$root/data

say() { printf '{"level":"info","event":"%s"}\n' "$1"; }

configure() {
    cat > "$1/pg_hba.conf" <<EOF
# Written by the image at every start.
local all postgres peer map=elink
local all all scram-sha-256
host all postgres all reject
host all all all scram-sha-256
EOF
    echo "elink $me postgres" > "$1/pg_ident.conf"
    cat > "$1/postgresql.auto.conf" <<EOF
# Written by the image at every start.
listen_addresses = '${ELINK_PG_LISTEN:-*}'
port = ${ELINK_PG_PORT:-5432}
unix_socket_directories = '$socket'
max_connections = ${ELINK_PG_MAX_CONNECTIONS:-200}
shared_buffers = '${ELINK_PG_SHARED_BUFFERS:-64MB}'
password_encryption = 'scram-sha-256'
log_timezone = 'Asia/Tokyo'
log_line_prefix = '%m [%p] %d %u '
log_statement = 'none'
idle_in_transaction_session_timeout = '5min'
max_wal_size = '1GB'
EOF
}

set_operator() {
    # psql reads the password from the environment of this one call; quoting is psql's (:'name').
    ELINK_NAME=$(cat "$secrets/username") ELINK_WORD=$(cat "$secrets/password") \
        psql -XqAt -v ON_ERROR_STOP=1 -h "$socket" -p "${ELINK_PG_PORT:-5432}" -U postgres -d postgres <<'EOF'
SET log_min_error_statement = panic;
\getenv name ELINK_NAME
\getenv word ELINK_WORD
SELECT format('CREATE ROLE %I LOGIN CREATEDB CREATEROLE', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN CREATEDB CREATEROLE NOSUPERUSER PASSWORD :'word';
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO :"name";
EOF
}

if [ ! -s "$data/PG_VERSION" ]; then
    say "making a new data folder"
    # A start that was killed half-way leaves only this temporary folder.
    rm -rf "$root/data.new"
    initdb -D "$root/data.new" -U postgres -E UTF8 --locale=C.UTF-8 --auth=reject --data-checksums > /dev/null
    mv "$root/data.new" "$data"
fi
configure "$data"
# A killed pod leaves its lock file. The process number in it means nothing in this container, where another process
# may bear it; the StatefulSet sees to it that no second pod uses the volume.
rm -f "$data/postmaster.pid"

# Roles first, reachable by nobody else; this also finishes crash recovery before the pod is ready.
say "checking the operator's role"
pg_ctl -D "$data" -w -t 300 -s -o "-c listen_addresses=''" start
set_operator
pg_ctl -D "$data" -w -m fast -s stop

say "starting"
exec postgres -D "$data"
