#!/bin/bash
# A cluster is dumped and restored into a new one at the same address, with an access live
# (PostgreSQL 15). The question is what confirm and retire do about it.
#
# Must be: the operator can say that the data is the same, and the access ends on the new server. Or
# at least: reconcile connects what is there with the access that gave it, and only what the lost
# server had is written off, not what the new one has.
. "$(dirname "$0")/lib.sh"
pg_start old 15; pg_world old; fresh old; without_dead_man
alice=$(ask alice orders_read 5s); pg_holds old orders_read alice || cannot "nothing is granted"
dumpall=$(pg_bin 15)/pg_dumpall; "$dumpall" -h "$W/old" -p "${PORT[old]}" -U postgres >dump.sql 2>dump.err || cannot "pg_dumpall: $(tail -1 dump.err)"
# whatever runs behind the dump, as the sentinel would, stays behind
down old QUIT; port=${PORT[old]}
mkdir new; own new; DATA[new]=$W/new/data KIND[new]=15
as_server "$(pg_bin 15)/initdb" -D "${DATA[new]}" -U postgres -A trust --no-sync -E UTF8 --locale=C >new.initdb 2>&1; PORT[new]=$port; pg_settings new "fsync = off"; pg_up new
"$PSQL" -X -q -h "$W/new" -p "$port" -U postgres -d postgres -f dump.sql >restore.out 2>&1 || true
pg_holds new orders_read alice || cannot "the dump does not bring the membership along"
sleep 5; run_due; step "window over, on the new server: $(state "$alice"), exit $RC"
if in_state "$alice" revoked && pg_holds new orders_read alice; then wrong "closed as revoked, and alice is in the role on the new server"; fi
try jit target confirm orders-prod --as erin --json; [ $RC = 0 ] || cannot "jit target confirm: ${ERRORS:0:200}"
confirmed=$OUT; run_due; run_due; step "confirmed: $(state "$alice"), exit $RC, alice holds: $(pg_member new orders_read alice)"
pg_holds new orders_read alice || right "after the confirmation it is taken on the new server"
faults=()
jit reconcile --target orders-prod --as erin --json >seen 2>&1 || true
grep -q "$alice" seen || grep -q "$alice" <<<"$confirmed" || faults+=("neither confirm nor reconcile says that access gave alice what she has on the new server")
dave=$(ask dave orders_read 10m) || cannot "nothing is granted on the new server"; pg_holds new orders_read dave || cannot "dave has not got the role"
try jit target retire orders-prod --as erin --json; step "retired ($RC): alice's $(state "$alice"), dave's $(state "$dave"), dave holds: $(pg_member new orders_read dave)"
if ! in_state "$dave" active && pg_holds new orders_read dave; then faults+=("retiring what the lost server had closed dave's live access on the new one as $(state "$dave"), and they keep the role"); fi
[ ${#faults[@]} = 0 ] || wrong "$(printf '%s; ' "${faults[@]}")"
right
