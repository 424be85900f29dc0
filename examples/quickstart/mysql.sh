# MySQL and MariaDB for the quickstart, from the distribution. If it has no MySQL: from Debian sid,
# unpacked into a cache.

ENGINE_SAID=
CLIENT=mariadb
RULE='activation = "default"                  # usable at once, in new sessions'
KEEPS_HOW='open'
REFUSED='command denied'
ENDED='Lost connection|gone away|killed|TLS/SSL error|closed'
LOADER=()

find_mariadb() {
    DAEMON=$(command -v mariadbd || ls /usr/sbin/mariadbd 2>/dev/null) && command -v mariadb-install-db >/dev/null 2>&1 || return 1
    PREFIX=/usr
}

# On Debian `mysqld` is another name of MariaDB's: what it says counts.
find_mysql() {
    local candidate
    for candidate in "$(command -v mysqld 2>/dev/null)" /usr/sbin/mysqld; do
        [ -n "$candidate" ] && [ -x "$candidate" ] || continue
        "$candidate" --no-defaults --version 2>/dev/null | grep -qv MariaDB || continue
        DAEMON=$candidate PREFIX=$(dirname "$(dirname "$candidate")")
        return
    done
    PREFIX=$CACHE/mysql-9.7/usr
    [ -x "$PREFIX/sbin/mysqld" ] && [ -e "$CACHE/mysql-9.7/ready" ] || return 1
    DAEMON=$PREFIX/sbin/mysqld
    # with the libraries that it came with
    LOADER=("$PREFIX/lib64/ld-linux-x86-64.so.2" --library-path "$PREFIX/lib/x86_64-linux-gnu")
}

need_server() {
    # the same folder as the tests have
    if [ "$(id -u)" = 0 ]; then CACHE=/var/cache/jit-tests; else CACHE=${HOME:-/tmp}/.cache/jit-tests; fi
    CACHE=${JIT_TEST_CACHE:-$CACHE}
    # the server packages would start a service, these have none
    command -v mariadb >/dev/null 2>&1 || install mariadb-client-core
    if [ "$ENGINE" = mariadb ]; then
        find_mariadb || install mariadb-server-core
        find_mariadb || cannot "the distribution's MariaDB cannot be found" "install mariadb-server-core by hand, then run this again"
        KEEPS_WHY='written there; MariaDB would let that session go on with the role after a plain REVOKE'
    else
        if ! find_mysql; then
            if apt-cache policy mysql-server-core-8.0 2>/dev/null | grep -q 'Candidate: [0-9]'; then
                install mysql-server-core-8.0
            else
                echo "bringing MySQL from Debian sid into $CACHE/mysql-9.7"
                at_length tests/bring-deb.sh "$CACHE/mysql-9.7" sid mysql-server-core mysqld >"$WORK/apt.log" 2>&1 ||
                    { tail -n 5 "$WORK/apt.log" >&2; cannot "MySQL cannot be brought here" "install it by hand (mysqld has to be on PATH), then run this again"; }
            fi
            find_mysql || cannot "MySQL cannot be found" "install it by hand (mysqld has to be on PATH), then run this again"
        fi
        KEEPS_WHY='written there; MySQL would let that session go on with the role in its database after a plain REVOKE'
    fi
    local version
    version=$(daemon --no-defaults --version | sed 's/.*Ver \([^ ]*\) .*/\1/')
    case $ENGINE in mariadb) ENGINE_SAID="MariaDB ${version%%-*} from $DAEMON" ;; *) ENGINE_SAID="MySQL $version from $DAEMON" ;; esac
}

daemon() { "${LOADER[@]}" "$DAEMON" "$@"; }

# What is the same for making its tables and for running it.
options() {
    local share=$PREFIX/share/mysql
    if [ "$ENGINE" = mariadb ] && [ -d "$PREFIX/share/mariadb/english" ]; then share=$PREFIX/share/mariadb; fi
    printf '[mysqld]\nbasedir=%s\ndatadir=%s\nlc-messages-dir=%s\ntmpdir=%s\n' "$PREFIX" "$WORK/data/all" "$share" "$WORK/data/tmp"
    [ "$ENGINE" = mariadb ] || printf 'secure-file-priv=NULL\nmysqlx=OFF\nskip-log-bin\n'
}

start_server() {
    as_owner mkdir "$WORK/data/tmp" "$WORK/data/tls"
    owned_certificate "$WORK/data/tls"
    options >"$WORK/new.cnf"
    chmod 644 "$WORK/new.cnf"
    if [ "$ENGINE" = mariadb ]; then
        quietly as_owner mariadb-install-db --no-defaults --datadir="$WORK/data/all" --tmpdir="$WORK/data/tmp" \
            --auth-root-authentication-method=normal --skip-test-db
    else
        quietly as_owner "${LOADER[@]}" "$DAEMON" --defaults-file="$WORK/new.cnf" --initialize-insecure
    fi
    local try
    for try in 1 2 3 4 5; do
        PORT=$(free_port) || fail "no port is free on 127.0.0.1"
        # a client on the socket is root, and the folder of the socket is nobody else's; nobody gets
        # in by the network without a password
        { options; printf 'port=%s\nbind-address=127.0.0.1\nsocket=%s\npid-file=%s\nssl-cert=%s\nssl-key=%s\nevent-scheduler=ON\n' \
            "$PORT" "$WORK/data/socket" "$WORK/data/pid" "$WORK/data/tls/server.pem" "$WORK/data/tls/server.key"; } >"$WORK/my.cnf"
        chmod 644 "$WORK/my.cnf"
        owner_exec "${LOADER[@]}" "$DAEMON" --defaults-file="$WORK/my.cnf" >"$WORK/server.log" 2>&1 &
        SERVER=$!
        for _ in $(seq 300); do
            gone "$SERVER" && break
            mariadb --no-defaults -u root --socket="$WORK/data/socket" -e 'SELECT 1' >/dev/null 2>&1 && return
            sleep 0.1
        done
        finish "$SERVER"
        SERVER=
    done
    tail -n 15 "$WORK/server.log" >&2
    fail "the server does not start"
}

# At once: nothing of it will be read again.
stop_server() {
    kill -KILL "$SERVER" 2>/dev/null
    wait "$SERVER" 2>/dev/null
}

# The client as somebody, over verified TLS.
as() {
    local who=$1
    shift
    MYSQL_PWD=$(cat "$WORK/secret.$who") mariadb --no-defaults --host=127.0.0.1 --port="$PORT" --user="$who" --connect-timeout=5 \
        --ssl-ca="$WORK/tls/ca.pem" --ssl-verify-server-cert --database=orders "$@"
}

# What the client said, without the statement that it repeats.
answered() { sed '/^-\{14\}$/,/^-\{14\}$/d; /^$/d'; }

# The administrator's statements, from standard input.
as_admin() { mariadb --no-defaults -u root --socket="$WORK/data/socket"; }

# The only value of a query.
value() { as alice -N -e "$1"; }

# A session of alice that uses the role and stays; it says `written` once it did.
stays() { as alice -N --unbuffered -e "$WRITE; SELECT 'written'; SELECT SLEEP(600)"; }
STAYS="mariadb -u alice -e \"\$WRITE; SELECT SLEEP(600)\""

set_the_stage() {
    URL="$ENGINE://jit_broker@127.0.0.1:$PORT"
    as_admin <<SQL || fail "the database could not be set up"
CREATE DATABASE orders;
CREATE TABLE orders.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, item TEXT NOT NULL);
CREATE ROLE orders_write;
GRANT INSERT, UPDATE, DELETE ON orders.orders TO orders_write;
CREATE USER alice@'%' IDENTIFIED BY '$(cat "$WORK/secret.alice")' REQUIRE SSL;
GRANT SELECT ON orders.orders TO alice@'%';
SQL
}

# For the script that sets the target up.
broker_password() { printf "SET @jit_password = '%s';\n" "$(cat "$WORK/secret.jit_broker")"; }
