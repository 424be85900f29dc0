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

# every feature alone
features=$(cargo metadata --format-version 1 --no-deps |
    node -e 'const m=JSON.parse(require("fs").readFileSync(0));for(const p of m.packages)for(const f of Object.keys(p.features))console.log(p.name+" "+f)' 2>/dev/null ||
    cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys
for p in json.load(sys.stdin)["packages"]:
    for f in p["features"]: print(p["name"], f)')
[ -n "$features" ] || fail "no features were found: node or python3 is needed to read them"
cargo check --locked --quiet --package jit-core --no-default-features
while read -r package feature; do
    cargo check --locked --quiet --package "$package" --no-default-features --features "$feature" ||
        fail "$package does not build with feature $feature alone"
done <<<"$features"
printf 'dependencies: as they should be\n'
