# Helpers of the cases. A case begins with:
#
#   . "$(dirname "$0")/lib.sh"
#
# and ends with `right`, `wrong WHY` or `cannot WHY` (exit codes 0, 1, 2). Any other failure ends it
# with 2: a case that could not be set up says nothing about the product.
#
# Servers are known by a name that the case gives them: `pg_start prod 17`, then `pg prod alice
# orders "select 1"`, ${PORT[prod]}. Everything listens on 127.0.0.1, lives in one temporary folder
# ($W), and is gone when the case ends, however it ends.
set -Eeuo pipefail
export LC_ALL=C.UTF-8
unset PGPASSWORD PGHOST PGPORT PGUSER PGDATABASE PGSERVICE PGOPTIONS MYSQL_HOST MYSQL_TCP_PORT MYSQL_PWD JIT_CONFIG JIT_TENANT JIT_AS JIT_TOTP

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/tools" && pwd)
PYTHON=/usr/bin/python3; [ -x "$PYTHON" ] || PYTHON=python3
JIT=${JIT:-target/debug/jit}
W=$(mktemp -d "${TMPDIR:-/tmp}/jit-case.XXXXXX"); chmod 755 "$W"
STARTED=()                       # processes to end, in the order in which they were started
declare -A PORT DATA KIND PID    # of servers, by name: KIND is a major version of PostgreSQL, `mysql` or `mariadb`

# ---- how a case ends

step() { printf -- '- %s\n' "$*" >&2; }
finish() { # CODE TEXT
  trap - ERR
  if [ "$BASH_SUBSHELL" != 0 ]; then printf '%s\n' "$2" >"$W/why"; else printf '%s\n' "$2"; fi
  exit "$1"
}
right() { finish 0 "right${1:+: $1}"; }
wrong() { finish 1 "WRONG: $*"; }
cannot() { finish 2 "cannot be checked: $*"; }

gone() {
  local status=$? process i
  trap - EXIT ERR INT TERM; set +eu
  exec 2>/dev/null  # that something was killed is no news
  for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do kill -CONT "${STARTED[i]}" 2>/dev/null; kill -TERM "${STARTED[i]}" 2>/dev/null; done
  # servers at once: nothing of them will be read again
  for i in "${!PID[@]}"; do case ${KIND[$i]} in mysql | mariadb) kill -KILL "${PID[$i]}" ;; *) kill -QUIT "${PID[$i]}" ;; esac 2>/dev/null; done
  for process in "${STARTED[@]}"; do
    for i in {1..50}; do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$process" 2>/dev/null
  done
  if [ -n "${JIT_CASES_KEEP:-}" ]; then printf 'kept: %s\n' "$W"; else rm -rf "$W"; fi
  exit "$status"
}
trap gone EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'failed $LINENO "$BASH_COMMAND"' ERR
failed() {
  local status=$?
  [ "$BASH_SUBSHELL" = 0 ] || exit "$status"
  [ ! -s "$W/why" ] || finish 2 "$(<"$W/why")"
  local frame line=$1
  for frame in "${!BASH_SOURCE[@]}"; do [ "${BASH_SOURCE[frame]}" != "$0" ] || { line=${BASH_LINENO[frame - 1]}; break; }; done
  finish 2 "cannot be checked: line $line of ${0##*/} failed ($status): ${2:0:160}"
}

[ -x "$JIT" ] || cannot "there is no binary \`$JIT\`: build it (cargo build -p jit-examples --bin jit), and name it by JIT"
JIT=$(cd "$(dirname "$JIT")" && pwd)/$(basename "$JIT")
cd "$W"

# ---- small things

# Runs it, and never fails: RC is its exit code, OUT what it printed, ERRORS what it complained of.
try() { RC=0; OUT=$("$@" 2>"$W/errors") || RC=$?; ERRORS=$(<"$W/errors"); }
# until SECONDS COMMAND...: waits until it is true; false when it never was.
until_true() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.2; done
}
# A value out of JSON on standard input (its first line): `show $ID | json 'd["state"]'`
json() { "$PYTHON" -c 'import json,sys; d=json.loads(sys.stdin.readline()); print('"$1"')'; }
# Starts a command in the background, to be ended with the case; STARTED[-1] is its process. It also
# ends when the case is killed.
background() { setpriv --pdeathsig KILL -- "$@" & STARTED+=($!); }
# Receivers of webhooks: "PORT LOG ANSWER ANSWER-TO-EXTENSIONS"... (tools/webhook.py)
hooks() {
  local each
  for each in "$@"; do background "$PYTHON" "$TOOLS/webhook.py" $each; until_true 10 listens "${each%% *}" || cannot "the receiver of webhooks does not start"; done
}
stop() { kill -TERM "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }

# Finds a free port of 127.0.0.1, outside of the range that the system hands out by itself.
# JIT_CASES_PORTS=FIRST-LAST sets another range.
PORTS=${JIT_CASES_PORTS:-20000-31999}; next_port=$((${PORTS%-*} + ($$ * 7) % (${PORTS#*-} - ${PORTS%-*} + 1)))
free_port() { # sets REPLY
  local tries
  for ((tries = 0; tries < 1000; tries++)); do
    REPLY=$next_port; next_port=$((next_port < ${PORTS#*-} ? next_port + 1 : ${PORTS%-*}))
    "$PYTHON" -c 'import socket, sys; socket.socket().bind(("127.0.0.1", int(sys.argv[1])))' "$REPLY" 2>/dev/null && return 0
  done
  cannot "no port of $PORTS is free"
}
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ---- servers: where they are, and as whom they run

CACHE=${JIT_TEST_CACHE:-}
[ -n "$CACHE" ] || { if [ "$(id -u)" = 0 ]; then CACHE=/var/cache/jit-tests; else CACHE=${HOME:-/tmp}/.cache/jit-tests; fi; }
SERVER_USER=; if [ "$(id -u)" = 0 ]; then SERVER_USER=nobody; ! id -u postgres >/dev/null 2>&1 || SERVER_USER=postgres; fi
own() { [ -z "$SERVER_USER" ] || chown -R "$SERVER_USER:" "$@"; }
# Runs it as whom servers run; it ends when the case does.
as_server() {
  if [ -n "$SERVER_USER" ]; then setpriv --pdeathsig QUIT --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --clear-groups -- env HOME=/tmp "$@"
  else setpriv --pdeathsig QUIT -- "$@"; fi
}
run_server() { # NAME COMMAND...: in the background, with its log in $W/NAME/log
  local name=$1; shift
  if [ -n "$SERVER_USER" ]; then
    (cd / && exec setpriv --pdeathsig QUIT --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --clear-groups -- env HOME=/tmp "$@") >>"$W/$name/log" 2>&1 </dev/null &
  else (cd / && exec setpriv --pdeathsig QUIT -- "$@") >>"$W/$name/log" 2>&1 </dev/null & fi
  PID[$name]=$!; STARTED+=($!)
}
# Why it does not start: the last complaint in its log, in one line.
complaint() { { grep -E 'FATAL|ERROR' "$W/$1/log" || cat "$W/$1/log"; } 2>/dev/null | tail -1; }
down() { # NAME [SIGNAL]: and waits
  kill "-${2:-TERM}" "${PID[$1]}" 2>/dev/null || true; wait "${PID[$1]}" 2>/dev/null || true; unset "PID[$1]"
}

# ---- PostgreSQL

pg_bin() { # MAJOR: where initdb and postgres are
  local place
  for place in "/usr/lib/postgresql/$1/bin" "$CACHE/postgres-$1/native/bin"; do [ -x "$place/postgres" ] && { echo "$place"; return 0; }; done
  return 1
}
need_pg() { pg_bin "$1" >/dev/null || cannot "PostgreSQL $1 is missing: the project's ./tests/run.sh brings it"; }
PSQL=$(ls /usr/lib/postgresql/*/bin/psql 2>/dev/null | tail -1 || true); PSQL=${PSQL:-psql}

# pg_start NAME MAJOR [SETTING...]: a new cluster. Its socket needs no password, the network does.
pg_start() {
  local name=$1 major=$2; shift 2; need_pg "$major"; command -v "$PSQL" >/dev/null || cannot "psql is missing"
  mkdir "$W/$name"; own "$W/$name"; DATA[$name]=$W/$name/data KIND[$name]=$major
  as_server "$(pg_bin "$major")/initdb" -D "${DATA[$name]}" -U postgres -A trust --no-sync -E UTF8 --locale=C >"$W/$name.initdb" 2>&1 ||
    cannot "initdb of PostgreSQL $major: $(tail -1 "$W/$name.initdb")"
  free_port; PORT[$name]=$REPLY; pg_settings "$name" "fsync = off" "full_page_writes = off" "$@"
  pg_up "$name"
}
# Where it listens, and more: written anew for a copy of another's folder.
pg_settings() {
  local name=$1; shift
  { printf '%s\n' "listen_addresses = '127.0.0.1'" "port = ${PORT[$name]}" "unix_socket_directories = '$W/$name'" "password_encryption = 'scram-sha-256'" \
      "shared_buffers = 16MB" "max_connections = 60" "$@"; } >>"${DATA[$name]}/postgresql.conf"
  printf 'local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n' >"${DATA[$name]}/pg_hba.conf"
}
pg_up() {
  local name=$1; run_server "$name" "$(pg_bin "${KIND[$name]}")/postgres" -D "${DATA[$name]}"
  until_true 30 pg "$name" postgres postgres 'select 1' || cannot "PostgreSQL ${KIND[$name]} does not start: $(complaint "$name")"
}
# pg_copy FROM TO: TO is a byte for byte copy of the folder of FROM, as a storage snapshot would
# make it. FROM is stopped meanwhile.
pg_copy() {
  down "$1" INT; mkdir "$W/$2"; cp -a "${DATA[$1]}" "$W/$2/data"; rm -f "$W/$2/data/postmaster.pid"; own "$W/$2"
  DATA[$2]=$W/$2/data KIND[$2]=${KIND[$1]}; free_port; PORT[$2]=$REPLY; pg_settings "$2"
  pg_up "$1"; pg_up "$2"
}
# pg NAME USER DATABASE SQL...: by the socket; prints values only.
pg() {
  local name=$1 user=$2 database=$3 each=(); shift 3
  for sql in "$@"; do each+=(-c "$sql"); done
  "$PSQL" -X -q -At -v ON_ERROR_STOP=1 -h "$W/$name" -p "${PORT[$name]}" -U "$user" -d "$database" "${each[@]}"
}
# The same, with SQL on standard input.
pg_in() { "$PSQL" -X -q -At -v ON_ERROR_STOP=1 -h "$W/$1" -p "${PORT[$1]}" -U "$2" -d "$3" -f -; }

# pg_world NAME: a database `orders` with a table and roles, people, and the broker as the set-up
# script makes it.
pg_world() {
  pg "$1" postgres postgres "create database orders"
  pg_in "$1" postgres orders <<'S'
create role orders_write nologin; create role orders_read nologin;
create table stuck (id int); insert into stuck values (1);
grant select, insert, update, delete on stuck to orders_write; grant select on stuck to orders_read;
create role alice login password 'pw-alice'; create role dave login password 'pw-dave';
create role jit_broker login noinherit password 'pw-broker';
S
  if [ "${KIND[$1]}" -ge 16 ]; then pg "$1" postgres orders "grant pg_signal_backend to jit_broker with inherit true"
  else pg "$1" postgres orders "grant pg_signal_backend to jit_broker"; fi
  pg_may_grant "$1" orders_write orders_read
}
pg_may_grant() { # NAME ROLE...: the broker may grant these
  local name=$1 role how="with admin option"; shift
  [ "${KIND[$name]}" -lt 16 ] || how="with admin option, inherit false, set false"
  for role in "$@"; do pg "$name" postgres orders "grant $role to jit_broker $how"; done
}
pg_member() { # NAME ROLE ACCOUNT: 0 or 1 (or more, by several grantors)
  pg "$1" postgres postgres "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles a on a.oid = m.member
    where r.rolname = '$2' and a.rolname = '$3'"
}
pg_holds() { [ "$(pg_member "$@")" != 0 ]; }
pg_holds_not() { [ "$(pg_member "$@")" = 0 ]; }
pg_url() { printf 'postgres://jit_broker@127.0.0.1:%s/%s' "${PORT[$1]}" "${2:-orders}"; }
# Opens a session that stays, and runs what is written to it: pg_session NAME USER DATABASE. Then
# `say "select 1000 + 1"` sends a statement, and `said 1001` tells whether it has answered. (Errors
# repeat the statement, so the expected text should not stand in it.)
pg_session() { open_session "$PSQL" -X -q -At -h "$W/$1" -p "${PORT[$1]}" -U "$2" -d "$3"; }
open_session() {
  local n=${#STARTED[@]}; mkfifo "$W/session.$n"; SAID=$W/said.$n; : >"$SAID"
  "$@" <"$W/session.$n" >"$SAID" 2>&1 & STARTED+=($!)
  exec {SESSION}>"$W/session.$n"
}
say() { (trap '' PIPE; printf '%s\n' "$*" >&"$SESSION") 2>/dev/null || true; }
said() { grep -qF -- "$1" "$SAID"; }

# ---- MySQL and MariaDB

my_prefix() { # mysql|mariadb: what would be /usr
  case $1 in
    mysql) [ -x "$CACHE/mysql-9.7/usr/sbin/mysqld" ] && echo "$CACHE/mysql-9.7/usr" ;;
    mariadb) [ -x /usr/sbin/mariadbd ] && echo /usr ;;
  esac
}
need_my() {
  my_prefix "$1" >/dev/null || cannot "$1 is missing: the project's ./tests/run.sh brings it"
  command -v mariadb >/dev/null || cannot "the client \`mariadb\` is missing: the project's ./tests/run.sh brings it"
}
my_command() { # KIND FOLDER: sets COMMAND
  local usr; usr=$(my_prefix "$1")
  if [ "$1" = mysql ]; then
    COMMAND=("$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" "$usr/sbin/mysqld" --no-defaults --basedir="$usr"
      --lc-messages-dir="$usr/share/mysql" --secure-file-priv=NULL --datadir="$2/data" --tmpdir="$2/tmp")
  else COMMAND=("$usr/sbin/mariadbd" --no-defaults --datadir="$2/data" --tmpdir="$2/tmp"); fi
}
# my_start NAME mysql|mariadb [OPTION...]: a new server. root logs in by the socket, without a
# password.
my_start() {
  local name=$1 kind=$2 kept; shift 2; need_my "$kind"
  mkdir "$W/$name" "$W/$name/tmp"; DATA[$name]=$W/$name/data KIND[$name]=$kind
  # making one takes seconds: of those that run.sh starts, the first is kept for the others
  kept=${JIT_CASES_NEW:+$JIT_CASES_NEW/$kind}
  if [ -n "$kept" ] && [ -d "$kept" ]; then cp -a "$kept" "$W/$name/data"; own "$W/$name"
  else
    own "$W/$name"; my_new "$kind" "$W/$name" >"$W/$name.new" 2>&1 || cannot "a new $kind cannot be made: $(tail -1 "$W/$name.new")"
    [ -z "$kept" ] || cp -a "$W/$name/data" "$kept"
  fi
  free_port; PORT[$name]=$REPLY; my_up "$name" "$@"
}
my_new() { # KIND FOLDER
  local share
  my_command "$1" "$2"
  if [ "$1" = mysql ]; then as_server "${COMMAND[@]}" --initialize-insecure && rm -f "$2/data/auto.cnf"; return; fi
  share=$(dirname "$(ls /usr/share/{mariadb,mysql}/{mariadb,mysql}_system_tables.sql 2>/dev/null | head -1)")
  mkdir "$2/data"; own "$2/data"
  { printf '%s\n' "create database if not exists mysql;" "use mysql;" "set @auth_root_socket=NULL;" "set @skip_auth_anonymous=1;"
    cat "$share"/*_system_tables.sql "$share"/*_performance_tables.sql "$share"/*_system_tables_data.sql
    echo "delete from mysql.global_priv where User = 'root' and Host <> 'localhost';"
  } | as_server "${COMMAND[@]}" --bootstrap
}
my_up() { # NAME [OPTION...]
  local name=$1 more=(--event-scheduler=ON --skip-name-resolve); shift
  my_command "${KIND[$name]}" "$W/$name"
  [ "${KIND[$name]}" != mysql ] || more+=(--mysqlx=OFF --innodb-doublewrite=OFF)
  case " $* " in *log-bin*) ;; *) [ "${KIND[$name]}" != mysql ] || more+=(--skip-log-bin) ;; esac
  run_server "$name" "${COMMAND[@]}" --bind-address=127.0.0.1 --port="${PORT[$name]}" --socket="$W/$name/s" --pid-file="$W/$name/pid" \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M "${more[@]}" "$@"
  until_true 60 my "$name" "select 1" || cannot "${KIND[$name]} does not start: $(complaint "$name")"
}
my() { mariadb --no-defaults -N -B -uroot -S "$W/$1/s" -e "$2"; }              # NAME SQL: as root
my_in() { mariadb --no-defaults -N -B -uroot -S "$W/$1/s"; }                   # NAME: SQL on standard input
my_as() {                                                                       # NAME USER SQL: by the network, password pw-USER
  mariadb --no-defaults -N -B --skip-ssl -h127.0.0.1 -P"${PORT[$1]}" "-u$2" "-ppw-$2" -e "$3"
}
my_session() { # NAME USER: as pg_session
  open_session mariadb --no-defaults -N -B --unbuffered --force --skip-reconnect --skip-ssl -h127.0.0.1 -P"${PORT[$1]}" "-u$2" "-ppw-$2"
}
my_url() { printf '%s://jit_broker@127.0.0.1:%s' "${KIND[$1]}" "${PORT[$1]}"; }
# my_world NAME: a database `orders` with a table and roles, people, and a broker that has nothing
# yet except the roles to grant.
my_world() {
  my_in "$1" <<'S'
create database orders; create table orders.stuck (id int); insert into orders.stuck values (1);
create role orders_write; create role orders_read;
grant select, insert, update, delete on orders.* to orders_write; grant select on orders.* to orders_read;
create user alice@'%' identified by 'pw-alice'; create user dave@'%' identified by 'pw-dave'; create user jit_broker@'%' identified by 'pw-broker';
S
  my_may_grant "$1" orders_write orders_read
}
my_may_grant() { local name=$1 role; shift; for role in "$@"; do my "$name" "grant $role to jit_broker@'%' with admin option"; done; }
my_member() { # NAME ROLE ACCOUNT
  if [ "${KIND[$1]}" = mariadb ]; then my "$1" "select count(*) from mysql.roles_mapping where Role = '$2' and User = '$3'"
  else my "$1" "select count(*) from mysql.role_edges where FROM_USER = '$2' and TO_USER = '$3'"; fi
}
my_holds() { [ "$(my_member "$@")" != 0 ]; }
my_holds_not() { [ "$(my_member "$@")" = 0 ]; }

# ---- jit

export BROKER_PW=pw-broker
jit() { (cd "$W" && exec timeout -k 5 "${LIMIT:-60}" "$JIT" "$@"); }

# Writes jit.toml, with its store in a file of its own. `target` adds targets, `toml` adds anything
# else, and `policy` reads the policy.
jit_toml() {
  printf 'policy = "policy.toml"\n[store]\nurl = "sqlite:jit.db"\n[audit]\nsigning_key = "audit.key"\nfile = "audit.jsonl"\n' >"$W/jit.toml"
}
toml() { cat >>"$W/jit.toml"; }
# Writes the same with its store in a database `jitstore` of that PostgreSQL server, made by `jit
# store migrate`. Then jit logs in as `jit_node`. There is an auditor too: `jit_auditor`.
jit_toml_in() { # NAME
  pg_in "$1" postgres postgres <<'S'
create role jit_owner login password 'pw-owner'; create role jit_node login password 'pw-node'; create role jit_auditor login password 'pw-auditor';
create database jitstore owner jit_owner;
S
  jit_toml; cp jit.toml node.toml
  local who
  for who in owner node; do
    sed "s#^url = \"sqlite:jit.db\"#url = \"postgres://jit_$who@127.0.0.1:${PORT[$1]}/jitstore\"\npassword_env = \"STORE_PW\"\ntls = { mode = \"danger-plaintext\" }#" node.toml >jit.toml
    [ $who = node ] || STORE_PW=pw-owner jit store migrate --node jit_node --auditor jit_auditor >store.out 2>&1 || cannot "the store is not made: $(tail -1 store.out)"
  done
  rm node.toml; export STORE_PW=pw-node
}
target() { # NAME URL [LINE...]: without TLS, to a server of this machine
  local name=$1 url=$2 tls='tls = { mode = "danger-plaintext" }' line; shift 2
  for line in "$@"; do case $line in tls*) tls=$line ;; esac; done
  { printf '[targets.%s]\nurl = "%s"\n%s\n' "$name" "$url" "$tls"
    case "$*" in *password_*) ;; *) echo 'password_env = "BROKER_PW"' ;; esac
    for line in "$@"; do case $line in tls*) ;; *) printf '%s\n' "$line" ;; esac; done; } >>"$W/jit.toml"
}
policy() { cat >"$W/policy.toml"; }
# Writes a policy for cases that need none of their own: `orders_read` at once on request,
# `orders_write` with the approval of a dba.
plain_policy() {
  policy <<'T'
version = 1
[groups]
payments = ["alice", "dave"]
dba = ["bob", "carol"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile", "retire", "clock", "audit"]
who = ["erin"]
targets = ["*"]
[[rule]]
name = "read"
targets = ["*"]
roles = ["orders_read"]
requesters = ["group:payments"]
max = "4h"
[[rule]]
name = "write"
targets = ["*"]
roles = ["orders_write"]
requesters = ["group:payments"]
max = "4h"
max_total = "23h"
[[rule.stage]]
people = [{ group = "dba", quorum = 1 }]
T
}
rule() { # ROLE [LINE...]: one more rule, that grants it at once
  local role=$1; shift
  { printf '[[rule]]\nname = "%s"\ntargets = ["*"]\nroles = ["%s"]\nrequesters = ["group:payments"]\nmax = "4h"\n' "$role" "$role"; printf '%s\n' "$@"; } >>"$W/policy.toml"
}

# ask WHO ROLE FOR [TARGET] [OPTION...]: prints the access
ask() {
  local who=$1 role=$2 long=$3 target=${4:-orders-prod} answer code=0; shift $(($# < 4 ? 3 : 4))
  answer=$(jit request --target "$target" --role "$role" --for "$long" --as "$who" --json "$@") || code=$?
  [ -z "$answer" ] || printf '%s\n' "$answer" | json 'd["id"]'
  return $code
}
# Asks where a refusal may be right: ID is empty then. (Exit code 3: the request was accepted, but
# the database has not granted it.)
asks() {
  try ask "$@"
  case $RC in 0 | 3) ID=$OUT; return 0 ;; 1) ID=; return 0 ;; esac
  # what cannot be a request at all is refused with exit code 2, as a wrong configuration is
  case $ERRORS in *'"kind":"configuration"'* | *'"kind":"usage"'* | *'"kind":"policy"'*) ;; *'"kind":"'*) ID=; return 0 ;; esac
  cannot "the request was neither taken nor refused ($RC): ${ERRORS:0:200}"
}
yes() { jit approve "$1" --as "$2" --note "${3:-fine}"; }    # ACCESS WHO [NOTE]
show() { jit show "$1" --json; }
state() { show "$1" | json 'd["state"]'; }
in_state() { case " $2 " in *" $(state "$1") "*) ;; *) return 1 ;; esac; }   # ACCESS "STATE STATE..."
expires() { show "$1" | json 'd.get("expires_at") or ""'; }
# The pump, and the address for answers that come later: PORT.
serve() { setpriv --pdeathsig KILL -- "$JIT" serve --listen "127.0.0.1:$1" >>"$W/serve.log" 2>&1 & STARTED+=($!); PUMP=$!; until_true 20 listens "$1"; }
pump() { setpriv --pdeathsig KILL -- "$JIT" pump >>"$W/pump.log" 2>&1 & STARTED+=($!); PUMP=$!; }

# Checks whether a text for people contains what could move their cursor, forge a line or change the
# order of letters. These are control characters except the end of a line, line and paragraph
# separators, and everything invisible (Cf). Reads standard input.
unclean() {
  "$PYTHON" -c '
import sys, unicodedata
text = sys.stdin.buffer.read().decode("utf-8", "replace")
sys.exit(0 if any(c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text) else 1)'
}

# Prints the fixes of `jit doctor` for all targets, as one script for the engine's own client
# (anything but SQL is left out).
mends() {
  try jit doctor --json
  [ -n "$OUT" ] || cannot "jit doctor says nothing: ${ERRORS:0:200}"
  printf '%s\n' "$OUT" | "$PYTHON" -c '
import json, re, sys
seen = []
for t in json.loads(sys.stdin.readline())["targets"]:
    places = t.get("checks", []) + [t.get("capabilities", {}).get("dead_man", {})]
    for place in places:
        mend = place.get("remedy") if isinstance(place, dict) else None
        if mend and mend not in seen and re.match(r"(?i)(grant|revoke|create|alter (?!system)|drop|delimiter)\b", mend.lstrip()): seen.append(mend)
for mend in seen: print(mend if mend.rstrip().endswith(";") else mend + ";")'
}
# Does as it says, as often as it says something new. NAME of the server.
mend() {
  local name=$1 times before=
  for times in 1 2 3; do
    mends >"$W/mend.sql"; [ "$(<"$W/mend.sql")" != "$before" ] || break; before=$(<"$W/mend.sql"); [ -n "$before" ] || break
    case ${KIND[$name]} in
      mysql | mariadb) my_in "$name" <"$W/mend.sql" >"$W/mend.out" 2>&1 || cannot "what jit doctor printed fails: $(tail -1 "$W/mend.out")" ;;
      *) pg_in "$name" postgres orders <"$W/mend.sql" >"$W/mend.out" 2>&1 || cannot "what jit doctor printed fails: $(tail -1 "$W/mend.out")" ;;
    esac
  done
}

# ---- several faults in one case

FAULTS=()
fault() { FAULTS+=("$*"); step "WRONG: $*"; }
# Ends the case: with what was found, or as right.
verdict() {
  [ ${#FAULTS[@]} = 0 ] || { local all; all=$(printf '%s; ' "${FAULTS[@]}"); wrong "${all%; }"; }
  right "$@"
}

# fresh NAME: makes another server the only target, with an empty store and plain_policy, and does
# there what `jit doctor` asks for. Further arguments are lines of the target.
fresh() {
  local name=$1; shift
  rm -f jit.db* audit.* pump.log; jit_toml; plain_policy
  case ${KIND[$name]} in
    mysql | mariadb) target orders-prod "$(my_url "$name")" "$@"; mend "$name" ;;
    *) target orders-prod "$(pg_url "$name")" "$@" ;;
  esac
}
without_dead_man() { sed -i 's/^max = "4h"/max = "4h"\ndead_man = "off"/' policy.toml; }
run_due() { try jit run-due; }   # RC, OUT

# tells ACCESS WORD...: checks whether all of these words stand anywhere in what is shown of the
# access or told about it: `jit show`, and the output of the last run.
tells() {
  local access=$1 word; shift
  { show "$access"; printf '%s\n' "${OUT:-}" "${ERRORS:-}"; } >told
  for word in "$@"; do grep -qF -- "$word" told || return 1; done
}
# verified ACCESS: whether it is closed, with the word that nothing of it is left
verified() { in_state "$1" revoked && [ "$(show "$1" | json 'any(e["details"].get("verified") is True for e in d["history"])')" = True ]; }
# Sets a global variable: set_global NAME VARIABLE VALUE; new sessions have it.
set_global() { my "$1" "set global $2 = $3"; }
