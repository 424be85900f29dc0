#!/bin/bash
# The name of a target moves to an unrelated, empty server: at the same port, started later. The old
# server goes on elsewhere, with a role that is live there. The operator confirms the target, and
# does not say that the data is the same.
#
# Must be: confirm names the access and refuses until it is told which data that is. With
# --other-data the access stays overdue, since the server that holds it was not asked.
. "$(dirname "$0")/lib.sh"
pg_start old 17; pg_world old; fresh old; without_dead_man
id=$(ask alice orders_read 5s); pg_holds old orders_read alice || cannot "nothing is granted"
down old INT; port=${PORT[old]}; free_port; elsewhere=$REPLY; sleep 1
taken=$(declare -f free_port); free_port() { REPLY=$port; }; pg_start new 17; eval "$taken"; pg_world new
sed -i "s/^port = .*/port = $elsewhere/" "${DATA[old]}/postgresql.conf"; PORT[old]=$elsewhere; pg_up old
pg_holds old orders_read alice || cannot "the old server has lost the membership"
sleep 5; run_due; [ "$RC" != 0 ] || wrong "run-due ends with 0 while the access is overdue"
try jit target confirm orders-prod --as erin; [ "$RC" != 0 ] || wrong "confirm takes another server for the old one"
grep -q "$id" <<<"$OUT$ERRORS" || wrong "confirm does not name the access that is live elsewhere"
try jit target confirm orders-prod --other-data --as erin; [ "$RC" = 0 ] || cannot "jit target confirm: ${ERRORS:0:200}"
run_due; step "confirmed: $(state "$id"), exit $RC, alice holds on the old server: $(pg_member old orders_read alice)"
if in_state "$id" revoked && pg_holds old orders_read alice; then wrong "closed as revoked, and alice is in the role on the old server"; fi
[ "$RC" != 0 ] || wrong "run-due ends with 0 while the access is overdue"
right
