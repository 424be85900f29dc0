#!/bin/bash
# Two people approve at about the same time, and one approval was enough: the answer to the second
# one.
#
# Must be: it succeeds, as there is nothing more to decide; or it is refused (exit code 1), with the
# name of the person who has already approved.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; fresh prod
id=$(ask alice orders_write 60s); in_state "$id" pending || cannot "it does not wait for a yes"
yes "$id" bob >/dev/null || cannot "bob cannot agree"; pg_holds prod orders_write alice || cannot "nothing is granted"
try yes "$id" carol; step "exit $RC: ${ERRORS:0:200}"
[ $RC != 0 ] || right "taken as said already"
[ $RC = 1 ] || wrong "a second yes ends with exit code $RC"
grep -q bob <<<"$OUT$ERRORS" || wrong "refused, and it does not say that bob has agreed already"
right
