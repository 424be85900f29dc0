#!/bin/bash
# Runs simulated histories, one for each seed, and says which faults they had how often.
#
#   ./tests/simulate.sh [N [FIRST]]     N seeds (1,000) from FIRST (0) on
#
#   JIT_SIM_ENOUGH=1   ends at the first that fails (5 otherwise)
#   JIT_SIM_TRACE=1    prints what happened in those that fail, line by line
#   JIT_SIM_WHOLE=1    does not make them shorter
#   JIT_SIM_MOVES=1    names lead to other servers and copies, and accounts are renamed: the
#                      first 20,000 of these hold, too
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --locked --release --quiet -p jit-simulator -- "$@"
