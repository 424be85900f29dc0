#!/bin/bash
# Breaks the engine on purpose, one law at a time, and shows that the simulator notices.
#
# Breaks the adapters too. A patch that begins with `caught-by: BINARY FILTER` is run against these
# tests on real servers instead. One that begins with `caught-with: NAME=VALUE` is run against
# histories of the simulator under that setting.
#
#   ./tests/mutants.sh --check              only whether every patch still applies
#   ./tests/mutants.sh [SEEDS] [NAME...]    each patch of tests/mutants (or these), with at most
#                                           SEEDS histories (500)
#
# Works on a copy; nothing here is changed. Says of each patch which law is broken in which history.
# Fails if a patch passes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

if [ "${1:-}" = --check ]; then
    failed=0
    for patch in tests/mutants/*.patch; do
        git apply --check "$patch" || { printf '%s does not apply\n' "$patch" >&2; failed=1; }
    done
    exit $failed
fi

seeds=${1:-500}
shift || true
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in tests/mutants/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --exclude=./target --exclude=./.git -cf - . | tar -xf - -C "$copy"
cd "$copy"
export CARGO_TARGET_DIR=$copy/target
# each patch is built for a few histories only
export CARGO_PROFILE_RELEASE_INCREMENTAL=true CARGO_PROFILE_RELEASE_OPT_LEVEL=1
passed=0
for name in "${names[@]}"; do
    git apply "$root/tests/mutants/$name.patch"
    if read -r word binary filter <"$root/tests/mutants/$name.patch" && [ "$word" = caught-by: ]; then
        cargo build --quiet --workspace --all-features --bin servers --bin jit
        said=$("$CARGO_TARGET_DIR/debug/servers" -- cargo test --workspace --all-features --test "$binary" -- "$filter" 2>&1 || true)
        if caught=$(printf '%s\n' "$said" | grep -m1 -E '^test .*FAILED'); then
            printf '%-18s caught by %s\n' "$name" "$caught"
        else
            printf '%-18s NOT CAUGHT: %s\n' "$name" "$(printf '%s\n' "$said" | tail -1)"
            passed=1
        fi
        git apply -R "$root/tests/mutants/$name.patch"
        continue
    fi
    setting=$(sed -n '1s/^caught-with: //p' "$root/tests/mutants/$name.patch")
    said=$(env JIT_SIM_ENOUGH=1 JIT_SIM_WHOLE=1 ${setting:+"$setting"} ./tests/simulate.sh "$seeds" 2>&1 || true)
    if caught=$(printf '%s\n' "$said" | grep -m1 -E '^seed [0-9]+: '); then
        printf '%-18s caught by %s\n' "$name" "$caught"
    else
        printf '%-18s NOT CAUGHT: %s\n' "$name" "$(printf '%s\n' "$said" | grep -m1 histories || printf '%s\n' "$said" | tail -1)"
        passed=1
    fi
    git apply -R "$root/tests/mutants/$name.patch"
done
exit $passed
