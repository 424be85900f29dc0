#!/bin/bash
# Measures everything for docs/src/benchmarks.md: brings the servers, waits for a quiet machine, and
# prints one table and the trace of one cycle. Says whether the machine was quiet.
#
#   ./tests/benches/run.sh [NAME...]   all rows (about 20 minutes), or those whose names contain
#                                      one of these words
#
#   JIT_BENCH_JSON=FILE   where the rows go as JSON (target/benches/aims.json)
#   JIT_BENCH_SVG=FOLDER  where the charts of load and live go (docs/src/benchmarks)
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '%s\n' "$*" >&2; }

./tests/run.sh --bring
if [ "$(id -u)" = 0 ]; then cache=/var/cache/jit-tests; else cache=${HOME:-/tmp}/.cache/jit-tests; fi
export JIT_TEST_CACHE=${JIT_TEST_CACHE:-$cache}
export JIT_BENCH_JSON=${JIT_BENCH_JSON:-$PWD/target/benches/aims.json}
export JIT_BENCH_SVG=${JIT_BENCH_SVG:-$PWD/docs/src/benchmarks}
cargo bench --locked --quiet -p jit-tests --bench aims --no-run

# Percentage of the processors that others use, over two seconds.
used() {
    local idle0 total0 idle1 total1
    read -r total0 idle0 < <(awk '/^cpu /{print $2+$3+$4+$5+$6+$7+$8, $5+$6}' /proc/stat)
    sleep 2
    read -r total1 idle1 < <(awk '/^cpu /{print $2+$3+$4+$5+$6+$7+$8, $5+$6}' /proc/stat)
    echo $((100 - 100 * (idle1 - idle0) / (total1 - total0)))
}
busy=$(used)
for _ in $(seq 60); do
    [ "$busy" -le 10 ] && break
    say "waiting for a quiet machine: others use $busy % of it"
    busy=$(used)
done
quiet="The machine was quiet before: others used $busy % of it."
[ "$busy" -le 10 ] || quiet="THE MACHINE WAS NOT QUIET: others used $busy % of it. Ratios may still mean something."

cargo bench --locked --quiet -p jit-tests --bench aims -- "$@"
[ $# -gt 0 ] || { printf '\n'; cargo bench --locked --quiet -p jit-tests --bench aims -- trace; }
printf '\n%s %s, %s processors, %s.\n' "$quiet" "$(uname -sr)" "$(nproc)" "$(date -u +%F)"
