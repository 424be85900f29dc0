#!/bin/bash
# At the end of a window, another grantor's grant of the same role still stands (PostgreSQL 17):
# what run-due prints about it.
#
# Must be: readers of the stream learn that alice still has the role. It names the other grantor
# too.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; fresh prod; without_dead_man
id=$(ask alice orders_read 2s); pg_holds prod orders_read alice || cannot "nothing is granted"
pg prod postgres orders "create role karl login" "grant orders_read to karl with admin option"; pg prod karl orders "grant orders_read to alice"
[ "$(pg_member prod orders_read alice)" = 2 ] || cannot "there are not two grants"
sleep 2.2; run_due; in_state "$id" revoked || cannot "it does not end ($(state "$id"))"
pg_holds prod orders_read alice || cannot "the other grant is gone, too"
show "$id" >shown; grep -q karl shown || wrong "neither the stream nor show says who granted what is left"
grep -q karl <<<"$OUT" || wrong "the stream says that it is gone, and alice has it by a grant of karl's (show tells it)"
right
