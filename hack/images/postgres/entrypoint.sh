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

# In-place growth of the pod's memory takes effect here at the next start.
shared_buffers() {
    limit=$(cat "${ELINK_CGROUP:-/sys/fs/cgroup}/memory.max" 2>/dev/null || echo max)
    case $limit in *[!0-9]* | '') limit=268435456 ;; esac
    quarter=$((limit / 4194304))
    if [ "$quarter" -lt 32 ]; then quarter=32; elif [ "$quarter" -gt 4096 ]; then quarter=4096; fi
    echo "${quarter}MB"
}

say() { printf '{"level":"info","event":"%s"}\n' "$1"; }

# The first process of a container ignores signals that it does not handle.
trap 'exit 143' INT TERM

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
shared_buffers = '${ELINK_PG_SHARED_BUFFERS:-$(shared_buffers)}'
# A huge page that the pod may not have would end a backend with SIGBUS.
huge_pages = off
password_encryption = 'scram-sha-256'
authentication_timeout = '15s'
log_timezone = 'Asia/Tokyo'
log_line_prefix = '%m [%p] %d %u '
log_statement = 'none'
log_lock_waits = on
# Values of a customer's statements do not belong in a log.
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
idle_in_transaction_session_timeout = '5min'
max_wal_size = '1GB'
# A file of the log that is used again keeps the rows of erased tenants; the operator has the rest removed.
wal_recycle = off
# After a crash every file is made durable before recovery begins: one by one that takes minutes with the hundreds of
# thousands of files of a server's tenants; the kernel does a whole file system in a moment.
recovery_init_sync_method = 'syncfs'
# A client that vanished with its node must not keep locks for two hours.
tcp_keepalives_idle = 60
tcp_keepalives_interval = 10
tcp_keepalives_count = 6
client_connection_check_interval = '10s'
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
-- To get rid of what PostgreSQL keeps of an erased tenant: rows in its log, names in its catalogs.
GRANT pg_checkpoint TO :"name";
GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_ls_waldir() TO :"name";
SELECT format('GRANT MAINTAIN ON pg_database, pg_authid TO %I', :'name')
 WHERE current_setting('server_version_num')::int >= 170000 \gexec
EOF
}

if [ ! -s "$data/PG_VERSION" ]; then
    say "making a new data folder"
    # A start that was killed half-way leaves only this temporary folder.
    rm -rf "$root/data.new"
    initdb -D "$root/data.new" -U postgres -E UTF8 --locale=C.UTF-8 --auth=reject --data-checksums > /dev/null
    mv "$root/data.new" "$data"
    sync
fi
# A volume plugin may have opened the folder to the group, which PostgreSQL refuses.
chmod 0700 "$data"
configure "$data"
# A killed pod leaves its lock file. The process number in it means nothing in this container, where another process
# may bear it; the StatefulSet sees to it that no second pod uses the volume.
rm -f "$data/postmaster.pid"

# Roles first, reachable by nobody else; this also finishes crash recovery before the pod is ready.
trap 'pg_ctl -D "$data" -m fast -s stop || :; exit 143' INT TERM
# Recovery that is cut short begins anew at the next start and would never end: the limit is for what hangs.
say "checking the operator's role"
pg_ctl -D "$data" -w -t 3600 -s -o "-c listen_addresses=''" start
set_operator
pg_ctl -D "$data" -w -m fast -s stop

say "starting"
exec postgres -D "$data"
