#!/bin/bash
# Three pumps on one PostgresStore and two realms, under load, killed, paused and cut off at random.
#
#   ./tests/storm.sh [SECONDS] [SEED]      (600 s and seed 1 unless told)
#
# Needs what tests/run.sh brings: run that first.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p jit-examples --bin jit
cargo build --release -p jit-tests --bin storm
exec target/release/storm "$@"
