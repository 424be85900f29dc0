#!/bin/bash
# Texts of 120,000 letters are taken into record, log and notices.
#
# Must be: every text that people give has a longest length. A longer one is refused, and only the
# refusal is recorded.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; jit_toml; plain_policy; target orders-prod "$(pg_url prod)"
big=$(head -c 120000 /dev/zero | tr '\0' x); faults=()
asks alice orders_write 10m orders-prod --reason "$big"; [ -z "$ID" ] || faults+=("request")
id=$(ask alice orders_write 10m orders-prod --reason "OPS-12: stuck"); size() { show "$id" | wc -c; }
given() { local what=$1 before; before=$(size); shift; try jit "$@"; [ $(($(size) - before)) -lt 20000 ] || faults+=("$what"); }
given "approve" approve "$id" --note "$big" --as bob
in_state "$id" active || yes "$id" bob >/dev/null
given "extend" extend "$id" --for 1m --reason "$big" --as alice
try jit extend "$id" --for 1m --reason "a bit" --as alice; given "deny" deny "$id" --note "$big" --as bob
given "revoke" revoke "$id" --reason "$big" --as erin
id=$(ask dave orders_write 10m); given "cancel" cancel "$id" --reason "$big" --as dave
before=$(wc -c <audit.jsonl); try jit stop --principal mallory --reason "$big" --as erin; try jit run-due; [ $(($(wc -c <audit.jsonl) - before)) -lt 20000 ] || faults+=("stop")
[ ${#faults[@]} = 0 ] || wrong "120,000 letters are recorded by: $(IFS=,; echo "${faults[*]}")"
right
