#!/usr/bin/env bash
# Shows jit on a throwaway server: request, approval, use, the end of the window, and the log.
#
#   examples/quickstart.sh [--engine postgres|mariadb|mysql] [--tour] [--no-pause]
#
# With --tour instead: tickets, codes, a manager, escalation, an emergency (plus oathtool, python3).
# It needs Debian (12 or later) or Ubuntu, and cargo. It uses the server and openssl that are here;
# if they are missing and this user may, it installs them from the distribution (MySQL, which Debian
# lacks, is unpacked into a cache folder). It runs as an unprivileged user in a folder of its own,
# on a port of its own on 127.0.0.1, and leaves nothing behind.

set -uo pipefail

readonly WINDOW=8                       # seconds that the role is granted for
readonly MIN_RUST=1.89
ENGINE=postgres
PAUSE=1
TOUR=
TRACKER=
WORK=
CHILD=
PUMP=
SESSION=
SERVER=
DONE=

while [ $# -gt 0 ]; do
    case $1 in
        --no-pause) PAUSE=0 ;;
        --tour) TOUR=1 ;;
        --engine)
            ENGINE=${2:-}
            shift
            ;;
        --engine=*) ENGINE=${1#--engine=} ;;
        -h | --help)
            sed -n '2,10s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *)
            echo "unknown argument \`$1\`: known are --engine, --tour and --no-pause" >&2
            exit 2
            ;;
    esac
    [ $# = 0 ] || shift
done
case $ENGINE in
    postgres | mariadb | mysql) ;;
    *)
        echo "unknown engine \`$ENGINE\`: known are postgres, mariadb and mysql" >&2
        exit 2
        ;;
esac

cd "$(dirname "$0")/.." || exit 2

if [ -t 1 ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' GREEN='' RED='' PLAIN=''
fi

# --- saying ---------------------------------------------------------------------------------------

step() {
    STEP=$((${STEP:-0} + 1))
    printf '\n%s%d. %s%s\n' "$BOLD" "$STEP" "$1" "$PLAIN"
    breathe
}

note() { printf '   %s\n' "$*"; }
good() { printf '   %s=> %s%s\n' "$GREEN" "$*" "$PLAIN"; }
shown() { printf '   %s$ %s%s\n' "$DIM" "$*" "$PLAIN"; }
indented() { sed 's/^/     /'; }
breathe() { [ "$PAUSE" = 0 ] || sleep 1.2; }

fail() {
    printf '\n%sNOT AS TOLD: %s%s\n' "$RED" "$*" "$PLAIN" >&2
    if [ -n "$WORK" ] && [ -s "$WORK/pump.log" ]; then
        echo "the pump said last:" >&2
        tail -n 8 "$WORK/pump.log" | indented >&2
    fi
    exit 1
}

cannot() {
    printf '%s%s%s\n' "$RED" "$1" "$PLAIN" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 2
}

# --- cleaning up ----------------------------------------------------------------------------------

gone() { ! kill -0 "$1" 2>/dev/null; }

# Runs something long in a group of its own, so that it can be ended with all its children and the
# traps run at once.
at_length() {
    setsid "$@" &
    CHILD=$!
    wait "$CHILD"
    local status=$?
    CHILD=
    return "$status"
}

# Ends a process of ours, gently first.
finish() {
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null
    for _ in $(seq 50); do
        gone "$1" && break
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

clean() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    [ -n "$CHILD" ] && kill -TERM -- "-$CHILD" 2>/dev/null && finish "$CHILD"
    [ -n "$SESSION" ] && finish "$SESSION"
    [ -n "$PUMP" ] && finish "$PUMP"
    [ -n "$TRACKER" ] && finish "$TRACKER"
    [ -n "$SERVER" ] && stop_server
    [ -n "$WORK" ] && rm -rf "$WORK"
    if [ "$status" = 0 ] && [ -z "$DONE" ]; then status=1; fi
    exit "$status"
}

trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# --- what it needs --------------------------------------------------------------------------------

ROOT_BY=
can_be_root() {
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && ROOT_BY='sudo -n'
}

INDEXED=
# Installs packages of the distribution, saying so.
install() {
    if ! command -v apt-get >/dev/null 2>&1 || ! can_be_root; then
        cannot "missing: $*" "install it, for example as root: apt-get install $*"
    fi
    echo "installing from the distribution: $*"
    if [ -z "$INDEXED" ]; then
        at_length $ROOT_BY apt-get update -qq >"$WORK/apt.log" 2>&1 || note "(the package index could not be refreshed; going on with the old one)"
        INDEXED=1
    fi
    at_length $ROOT_BY env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$WORK/apt.log" 2>&1 && return 0
    tail -n 5 "$WORK/apt.log" >&2
    cannot "\`apt-get install $*\` did not work" "install it by hand, then run this again"
}

version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

find_cargo() {
    command -v cargo >/dev/null 2>&1 || export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v cargo >/dev/null 2>&1 || cannot "cargo is missing: jit is built from source with Rust $MIN_RUST or later" \
        "get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" "(the distribution's own may be too old)"
    local found
    found=$(cargo --version 2>/dev/null | awk '{print $2}')
    version_at_least "${found:-0}" "$MIN_RUST" || cannot "cargo ${found:-of unknown version} is too old: jit needs Rust $MIN_RUST or later" \
        "update it with: rustup update stable" "or get rustup with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
}

# The server refuses to run as root.
OWNER=
choose_owner() {
    [ "$(id -u)" = 0 ] || return 0
    for OWNER in postgres nobody; do
        id "$OWNER" >/dev/null 2>&1 && break
        OWNER=
    done
    [ -n "$OWNER" ] || cannot "there is neither a user postgres nor nobody to run the server as" "run this as an ordinary user"
    command -v setpriv >/dev/null 2>&1 || cannot "setpriv is missing" "install util-linux, or run this as an ordinary user"
}

# Becomes that program, as the server's user: in the background its process is the program's.
owner_exec() {
    [ -n "$OWNER" ] || exec "$@"
    exec setpriv --reuid "$OWNER" --regid "$(id -g "$OWNER")" --clear-groups env HOME="$WORK" "$@"
}

as_owner() { (owner_exec "$@"); }

free_port() {
    local port
    for _ in $(seq 50); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 40000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
        echo "$port"
        return
    done
    return 1
}

# --- the stage ------------------------------------------------------------------------------------

quietly() { "$@" >"$WORK/quiet.log" 2>&1 || { tail -n 15 "$WORK/quiet.log" >&2; fail "$1 did not work"; }; }

certificates() {
    (
        cd "$WORK/tls" || exit 1
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=throwaway CA' -keyout ca.key -out ca.pem \
            -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' &&
            openssl req -newkey rsa:2048 -nodes -subj '/CN=127.0.0.1' -keyout server.key -out server.csr &&
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' >server.ext &&
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem
    )
}

secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# The server's certificate and key, in a folder where it can read them.
owned_certificate() {
    cp "$WORK/tls/server.pem" "$WORK/tls/server.key" "$1/"
    chmod 600 "$1/server.key"
    [ -z "$OWNER" ] || chown "$OWNER" "$1/server.pem" "$1/server.key"
}

# What the server is: how it is found, started, stopped and spoken to.
case $ENGINE in
    postgres) . examples/quickstart/postgres.sh ;;
    *) . examples/quickstart/mysql.sh ;;
esac

configure() {
    cat >"$WORK/jit.toml" <<TOML
policy = "policy.toml"

[store]
url = "sqlite:jit.db"

[targets.orders-prod]
url = "$URL"
password_file = "secret.jit_broker"
tls = { mode = "verify-full", ca = "tls/ca.pem" }

[audit]
signing_key = "audit.key"
file = "audit.jsonl"
TOML
    cat >"$WORK/policy.toml" <<TOML
version = 1

[groups]
payments = ["alice"]
dba      = ["alice", "bob", "carol"]

[[rule]]
name       = "change orders"
targets    = ["orders-prod"]
roles      = ["orders_write"]
requesters = ["group:payments"]
max        = "1h"
reason     = { min_length = 10 }
$RULE

[[rule.stage]]
people = [{ group = "dba" }]            # one of them, never the requester
TOML
}

# Sets the target up as an administrator: the broker's account, its rights, and the dead man's
# switch, which ends a role when every process of jit is dead.
set_up() {
    jit doctor --sql orders-prod >"$WORK/set-up.sql" 2>"$WORK/said" || { indented <"$WORK/said"; fail "jit doctor prints no script"; }
    { broker_password; cat "$WORK/set-up.sql"; } | as_admin || fail "what jit doctor prints cannot be run"
}

jit() { "$JIT" --config "$WORK/jit.toml" "$@"; }

# The first field of this name in a JSON object on one line; good enough for ids, words and times.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# --- the play -------------------------------------------------------------------------------------

case $ENGINE in postgres) DO=-c WRITES='-U alice -c' ;; *) DO=-e WRITES='-u alice -e' ;; esac
WRITE="INSERT INTO orders (item) VALUES ('a mended order')"

write_is_refused() {
    shown "$CLIENT $WRITES \"$WRITE\""
    as alice "$DO" "$WRITE" >"$WORK/said" 2>&1 && fail "alice could write without the role"
    answered <"$WORK/said" | indented
    grep -q "$REFUSED" "$WORK/said" || fail "the write failed for another reason than the missing role"
}

play() {
    step "alice has no role that could change orders"
    write_is_refused
    good "refused by the database itself"

    step "alice asks for one, for $WINDOW seconds"
    shown "jit request --target orders-prod --role orders_write --for ${WINDOW}s --reason 'OPS-12: stuck orders' --as alice"
    jit request --target orders-prod --role orders_write --for "${WINDOW}s" --reason 'OPS-12: stuck orders' --as alice --json \
        >"$WORK/request.json" 2>"$WORK/said" || { indented <"$WORK/said"; fail "the request was not taken"; }
    ID=$(field id <"$WORK/request.json")
    [ -n "$ID" ] || fail "the request has no id"
    [ "$(field state <"$WORK/request.json")" = pending ] || fail "the request does not wait for approval"
    shown "jit show $ID"
    jit show "$ID" >"$WORK/said" || fail "the request cannot be shown"
    sed '/^$/q' "$WORK/said" | indented
    grep -q 'pending on .*dba' "$WORK/said" || fail "it is not said who has to approve"
    grep -q 'can decide *bob, carol' "$WORK/said" || fail "bob and carol could decide, and that is not said"
    good "it waits for one of the group dba: bob or carol"

    step "alice is in that group, too, and tries to approve"
    shown "jit approve $ID --as alice"
    jit approve "$ID" --as alice >"$WORK/said" 2>&1
    [ $? = 1 ] || fail "a self-approval was not refused"
    indented <"$WORK/said"
    good "nobody decides on their own request"

    step "The pump runs, and bob approves"
    shown "jit pump &"
    "$JIT" --config "$WORK/jit.toml" pump >"$WORK/pump.log" 2>&1 &
    PUMP=$!
    shown "jit approve $ID --note 'go ahead' --as bob"
    jit approve "$ID" --note 'go ahead' --as bob >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "the approval did not make the role usable"; }
    approved=$SECONDS
    indented <"$WORK/said"
    grep -q '^usable:' "$WORK/said" || fail "the role is not usable after the approval"
    good "granted by the database, and usable when the command returned"

    step "alice writes, and keeps a session $KEEPS_HOW"
    shown "$CLIENT $WRITES \"$WRITE\""
    as alice "$DO" "$WRITE" >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "alice cannot write with the role"; }
    [ "$(value 'SELECT count(*) FROM orders')" = 1 ] || fail "the order was not written"
    good "the order is written"
    shown "${STAYS//\$WRITE/$WRITE}"
    stays >"$WORK/session.log" 2>&1 &
    SESSION=$!
    for _ in $(seq 40); do
        grep -q written "$WORK/session.log" && break
        sleep 0.1
    done
    grep -q written "$WORK/session.log" || { indented <"$WORK/session.log"; fail "the session could not use the role"; }
    good "$KEEPS_WHY"

    step "The window closes"
    while left=$((WINDOW - SECONDS + approved)) && [ "$left" -gt 0 ] && ! gone "$SESSION"; do
        if [ -t 1 ]; then printf '\r   %2d s ' "$left"; else printf '   %d s\n' "$left"; fi
        sleep 1
    done
    [ -t 1 ] && printf '\r         \r'
    for _ in $(seq 100); do
        gone "$SESSION" && break
        sleep 0.1
    done
    gone "$SESSION" || fail "the session lives on after the window"
    wait "$SESSION" && fail "the session ended by itself"
    SESSION=
    grep -v written "$WORK/session.log" | answered | indented
    grep -q -i -E "$ENDED" "$WORK/session.log" || fail "the session was not ended by the administrator's command"
    for _ in $(seq 100); do
        jit show "$ID" --json >"$WORK/show.json" 2>/dev/null && [ "$(field state <"$WORK/show.json")" = revoked ] && break
        sleep 0.1
    done
    [ "$(field state <"$WORK/show.json")" = revoked ] || fail "the role is not revoked after the window"
    grep "$ID" "$WORK/pump.log" | sed 's/, why .*//' | tail -n 3 | indented
    good "the role is revoked and verified, and the session ended with it"

    step "alice tries to write again"
    write_is_refused
    good "as before the request"

    step "All of it is in the log"
    shown "jit show $ID"
    jit show "$ID" >"$WORK/said" || fail "the access cannot be shown"
    sed '1,/^$/d' "$WORK/said" | cut -c 1-150 | indented
    for what in requested decision-refused approved granting dead-man-armed active revoking revoked; do
        grep -q " $what" "$WORK/said" || fail "the log does not say: $what"
    done

    step "The log is signed, verified, and a copy is exported that anyone with the public key can verify"
    shown "jit audit checkpoint"
    jit audit checkpoint >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "the log cannot be signed"; }
    indented <"$WORK/said"
    shown "jit audit verify"
    jit audit verify >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "the log does not verify"; }
    indented <"$WORK/said"
    shown "jit audit export copy.jsonl && jit audit verify copy.jsonl --public-key audit.key.pub"
    jit audit export "$WORK/copy.jsonl" >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "the log cannot be exported"; }
    "$JIT" audit verify "$WORK/copy.jsonl" --public-key "$WORK/audit.key.pub" >"$WORK/said" 2>&1 ||
        { indented <"$WORK/said"; fail "the exported log does not verify"; }
    indented <"$WORK/said"
    good "complete and unchanged"

    step "One letter of the copy is changed: bob did not say 'go ahead' but 'so ahead'"
    number=$(grep '"note":"go ahead"' "$WORK/copy.jsonl" | sed -n 's/^{"number":\([0-9]*\),.*/\1/p' | head -n 1)
    [ -n "$number" ] || fail "bob's approval is not in the copy"
    sed 's/"note":"go ahead"/"note":"so ahead"/' "$WORK/copy.jsonl" >"$WORK/altered.jsonl"
    [ "$(cmp -l "$WORK/copy.jsonl" "$WORK/altered.jsonl" | wc -l)" = 1 ] || fail "more or less than one byte was changed"
    shown "jit audit verify altered.jsonl --public-key audit.key.pub"
    "$JIT" audit verify "$WORK/altered.jsonl" --public-key "$WORK/audit.key.pub" >"$WORK/said" 2>&1
    [ $? = 1 ] || fail "an altered log verifies"
    indented <"$WORK/said"
    grep -q "entry $number\b" "$WORK/said" || fail "the altered entry ($number) is not named"
    good "found, and named: entry $number"
}

# --------------------------------------------------------------------------------------------------

WORK=$(mktemp -d "${TMPDIR:-/tmp}/jit-quickstart.XXXXXX") || exit 2
mkdir -m 700 "$WORK/tls"
find_cargo
need_server
command -v openssl >/dev/null 2>&1 || install openssl
[ -z "$TOUR" ] || { . examples/quickstart/tour.sh && need_for_the_tour; }
choose_owner
if [ -n "$OWNER" ]; then
    # the server's user has to get to its own folder, and to nothing else
    chmod 711 "$WORK"
    mkdir "$WORK/data" && chown "$OWNER" "$WORK/data" && chmod 700 "$WORK/data"
fi

echo "building jit (a few minutes the first time)..."
at_length cargo build -q -p jit-examples --bin jit || cannot "jit could not be built" "the lines above say why"
TARGET=$(cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
JIT=${TARGET:-target}/debug/jit
[ -x "$JIT" ] || cannot "cargo put the binary somewhere unexpected: $JIT is not there" "unset CARGO_BUILD_TARGET, or build without it"

printf '%s%s, a throwaway server in %s%s\n' "$DIM" "$ENGINE_SAID" "$WORK" "$PLAIN"
quietly certificates
start_server
for who in alice jit_broker; do (umask 077 && secret >"$WORK/secret.$who"); done
set_the_stage
configure
[ -z "$TOUR" ] || { start_tracker && configure_tour; }
set_up
jit doctor >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "jit doctor finds something wrong"; }
indented <"$WORK/said"

if [ -n "$TOUR" ]; then tour; else play; fi
DONE=1
printf '\n%sThat was all of it: asked for, approved, used, ended, proved.%s\n' "$BOLD" "$PLAIN"
