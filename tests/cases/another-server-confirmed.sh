#!/bin/bash
# The name of a target moves to an unrelated, empty server: at the same port, started later. The old
# server goes on elsewhere, with a role that is live there. The operator confirms the target, and
# does not say that the data is the same.
#
# Must be: the access stays overdue and is named, since the server that holds it was not asked. It
# ends on the new server only after `--same-data`.
. "$(dirname "$0")/lib.sh"
pg_start old 17; pg_world old; fresh old; without_dead_man
id=$(ask alice orders_read 5s); pg_holds old orders_read alice || cannot "nothing is granted"
down old INT; port=${PORT[old]}; free_port; elsewhere=$REPLY; sleep 1
taken=$(declare -f free_port); free_port() { REPLY=$port; }; pg_start new 17; eval "$taken"; pg_world new
sed -i "s/^port = .*/port = $elsewhere/" "${DATA[old]}/postgresql.conf"; PORT[old]=$elsewhere; pg_up old
pg_holds old orders_read alice || cannot "the old server has lost the membership"
sleep 5; run_due; [ "$RC" != 0 ] || wrong "run-due ends with 0 while the access is overdue"
try jit target confirm orders-prod --as erin; [ "$RC" = 0 ] || cannot "jit target confirm: ${ERRORS:0:200}"
grep -q "$id" <<<"$OUT" || wrong "confirm does not name the access that is live elsewhere"
run_due; step "confirmed: $(state "$id"), exit $RC, alice holds on the old server: $(pg_member old orders_read alice)"
if in_state "$id" revoked && pg_holds old orders_read alice; then wrong "closed as revoked, and alice is in the role on the old server"; fi
[ "$RC" != 0 ] || wrong "run-due ends with 0 while the access is overdue"
right
