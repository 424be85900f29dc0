# PostgreSQL for the quickstart: the newest that is here, or the distribution's.

ENGINE_SAID=
CLIENT=psql
DATABASE=postgres                       # until the one of the tour is there
# a role can be set there, and a session that did so keeps it
RULE='set_role   = "allowed"                  # sessions always end with the window then'
KEEPS_HOW='open that ran SET ROLE'
KEEPS_WHY='written there too; that session would go on with the role after a plain REVOKE'
REFUSED='permission denied'
ENDED='terminating connection'

# The newest PostgreSQL that is here.
find_server() {
    local candidate best='' best_version=0 version
    for candidate in "$(dirname "$(command -v initdb 2>/dev/null || echo /nowhere/x)")" /usr/lib/postgresql/*/bin; do
        [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ] && [ -x "$candidate/postgres" ] || continue
        version=$("$candidate/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
        [ -n "$version" ] && [ "$version" -ge 15 ] && [ "$version" -gt "$best_version" ] || continue
        best=$candidate best_version=$version
    done
    [ -n "$best" ] || return 1
    BIN=$best VERSION=$best_version
    if [ -x "$BIN/psql" ]; then PSQL=$BIN/psql; else PSQL=$(command -v psql) || return 1; fi
    ENGINE_SAID="PostgreSQL $VERSION from $BIN"
}

need_server() {
    find_server && return
    if command -v apt-get >/dev/null 2>&1 && can_be_root && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        # so that the package makes and starts no cluster of its own
        $ROOT_BY mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | $ROOT_BY tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    install postgresql
    find_server || cannot "the distribution's PostgreSQL is older than 15, or has no psql" "put a newer one's bin folder in front of PATH"
}

start_server() {
    (umask 077 && secret >"$WORK/superuser")
    [ -z "$OWNER" ] || chown "$OWNER" "$WORK/superuser"
    quietly as_owner "$BIN/initdb" -D "$WORK/data" -U postgres -A scram-sha-256 --pwfile="$WORK/superuser" --no-sync -E UTF8 --locale=C
    owned_certificate "$WORK/data"
    # nobody gets in without TLS and a password
    printf 'hostssl all all 127.0.0.1/32 scram-sha-256\n' >"$WORK/data/pg_hba.conf"
    local try
    for try in 1 2 3 4 5; do
        PORT=$(free_port) || fail "no port is free on 127.0.0.1"
        SERVER=1
        as_owner "$BIN/pg_ctl" -D "$WORK/data" -w -l "$WORK/data/log" -o "-p $PORT -c listen_addresses=127.0.0.1 \
            -c unix_socket_directories='' -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key \
            -c log_min_messages=warning" start >"$WORK/quiet.log" 2>&1 && return
    done
    tail -n 15 "$WORK/data/log" >&2
    fail "the server does not start"
}

stop_server() {
    as_owner "$BIN/pg_ctl" -D "$WORK/data" -m immediate -w stop >/dev/null 2>&1
    local postmaster
    postmaster=$(head -n 1 "$WORK/data/postmaster.pid" 2>/dev/null)
    [ -z "$postmaster" ] || kill -KILL "$postmaster" 2>/dev/null
}

# psql as somebody, over verified TLS, one statement at a time.
as() {
    local who=$1
    shift
    PGPASSWORD=$(cat "$WORK/secret.$who") PGSSLMODE=verify-full PGSSLROOTCERT="$WORK/tls/ca.pem" PGCONNECT_TIMEOUT=5 \
        "$PSQL" -X -q -v ON_ERROR_STOP=1 -v VERBOSITY=terse -h 127.0.0.1 -p "$PORT" -U "$who" -d "$DATABASE" "$@"
}

# What the client said.
answered() { cat; }

# The administrator's statements, from standard input.
as_admin() { as postgres >/dev/null; }

# The only value of a query.
value() { as alice -A -t -c "$1"; }

# A session of alice that uses the role and stays; it says `written` once it did.
stays() { as alice -c 'SET ROLE orders_write' -c "$WRITE" -c '\echo written' -c 'SELECT pg_sleep(600)'; }
STAYS="psql -U alice -c 'SET ROLE orders_write' -c \"\$WRITE\" -c 'SELECT pg_sleep(600)'"

set_the_stage() {
    cp "$WORK/superuser" "$WORK/secret.postgres"
    as postgres -c "CREATE DATABASE orders" || fail "the database could not be made"
    DATABASE=orders
    URL="postgres://jit_broker@127.0.0.1:$PORT/orders"
    as_admin <<SQL || fail "the database could not be set up"
CREATE ROLE orders_write NOLOGIN;
CREATE ROLE alice LOGIN PASSWORD '$(cat "$WORK/secret.alice")';
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL);
GRANT SELECT ON orders TO PUBLIC;
GRANT INSERT, UPDATE, DELETE ON orders TO orders_write;
SQL
}

# For the script that sets the target up.
broker_password() { printf '%s\n' "\\set password '$(cat "$WORK/secret.jit_broker")'"; }
