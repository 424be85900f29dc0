#!/bin/bash
# What the crates depend on, and that each feature stands alone.
set -euo pipefail
cd "$(dirname "$0")/.."

names() { cargo tree --locked --edges normal --prefix none --format '{p}' "$@" | cut -d' ' -f1 | sort -u; }
fail() { printf 'dependencies: %s\n' "$*" >&2; exit 1; }

# jit-core without features holds no driver, no TLS and no HTTP
banned='^(tokio-postgres|postgres|deadpool.*|mysql.*|tiberius|rusqlite|libsqlite3-sys|sqlx.*|rustls.*|native-tls|openssl.*|ring|aws-lc.*|hyper.*|reqwest|jsonwebtoken|http|axum.*|lettre|cedar-policy.*)$'
if found=$(names --package jit-core --no-default-features | grep -E "$banned"); then
    fail "jit-core without features holds $found"
fi

# one TLS, one provider of cryptography, in the whole workspace
if found=$(names --workspace --all-features | grep -E '^(ring|openssl|openssl-sys|native-tls)$'); then
    fail "the workspace holds $found"
fi

# the testkit leaves tokio as it is: only the simulator owns the time of its runtime
tree=$(cargo tree --locked --edges normal,features --package jit-core --no-default-features --features testkit)
if grep -F 'tokio feature "test-util"' <<<"$tree" >&2; then fail "jit-core with the testkit holds tokio's test-util"; fi

# every feature alone
features=$(cargo run --locked --quiet --package jit-xtask -- features)
[ -n "$features" ] || fail "no features were found"
cargo check --locked --quiet --package jit-core --no-default-features
while read -r package feature; do
    cargo check --locked --quiet --package "$package" --no-default-features --features "$feature" ||
        fail "$package does not build with feature $feature alone"
done <<<"$features"
printf 'dependencies: as they should be\n'
