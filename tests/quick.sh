#!/bin/bash
# Runs the quick tests: no server, no Cedar, no supervisor. For the inner loop, before ./.ci/run.
#
#   ./tests/quick.sh [FILTER...]     only the tests whose names hold one of these
#
# Runs the unit tests of jit-core and of the adapters, and the engine on mock databases.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo_home=${CARGO_HOME:-$HOME/.cargo}
command -v cargo >/dev/null || [ ! -x "$cargo_home/bin/cargo" ] || PATH=$cargo_home/bin:$PATH
command -v cargo >/dev/null || {
    printf 'quick: cargo is missing: install Rust 1.89 or later, see https://rustup.rs\n' >&2
    exit 1
}

packages=()
for package in jit-core jit-postgres jit-mysql jit-mssql; do packages+=(--package "$package"); done
features=jit-core/email,jit-core/http,jit-core/oidc,jit-core/sqlite,jit-core/testkit,jit-core/totp
# The engine's tests mostly wait for the end of a window: more of them than cores run side by side.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-12}
begun=$SECONDS
cargo test --locked --quiet --no-fail-fast "${packages[@]}" --features "$features" --lib --test engine --test rooms -- "$@" || {
    printf 'quick: failed after %s s: see above\n' "$((SECONDS - begun))" >&2
    exit 1
}
printf 'quick: all passed in %s s\n' "$((SECONDS - begun))"
