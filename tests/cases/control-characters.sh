#!/bin/bash
# Texts of people and names from databases reach the screen with control characters in them.
#
# Must be: nothing that is not the product's own text reaches a terminal unescaped.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; pg prod postgres orders "create role orders_maker nologin" "grant create on schema public to orders_maker"
pg_may_grant prod orders_maker
jit_toml; plain_policy; rule orders_maker; target orders-prod "$(pg_url prod)"
evil=$'x\e]0;title\a\e[2J\e[31mred\u009b2J\u202egnp'
seen() { # WHAT COMMAND...: whether what is printed then is clean (a refusal is as good)
  local what=$1; shift; try jit "$@"
  ! { printf '%s\n' "$OUT" "$ERRORS" | unclean; } || faults+=("$what")
}
faults=()
asks alice orders_write 1h orders-prod --reason "OPS-12: stuck" --ticket "OPS-1$evil"
[ -z "$ID" ] || seen "a ticket" show "$ID"
id=$(ask alice orders_write 1h orders-prod --reason "OPS-12: stuck"); seen "the note of a yes" approve "$id" --note "$evil" --as bob
[ "$(state "$id")" = active ] || yes "$id" bob >/dev/null; seen "the note of a yes, shown" show "$id"
seen "the reason of an extension" extend "$id" --for 1m --reason "$evil" --as alice; seen "the note of a no" deny "$id" --note "$evil" --as bob; seen "the note of a no, shown" show "$id"
seen "the reason of a revoke" revoke "$id" --reason "$evil" --as erin; seen "the reason of a revoke, shown" show "$id"
id=$(ask dave orders_write 1h orders-prod --reason "OPS-13: stuck"); seen "the reason of a cancel" cancel "$id" --reason "$evil" --as dave; seen "the reason of a cancel, shown" show "$id"
seen "the reason of a stop" stop --principal mallory --reason "$evil" --as erin
id=$(ask alice orders_maker 3s); pg prod alice orders "create table \"$evil\" (id int)"; sleep 4; try jit run-due; seen "the name of a table that stayed behind" show "$id"
seen "a name that nobody has" show "$evil"; seen "a target that nobody has" request --target "$evil" --role orders_read --for 1m --as alice
seen "the list" list
[ ${#faults[@]} = 0 ] || wrong "control characters reach the terminal from: $(IFS=,; echo "${faults[*]}")"
right
