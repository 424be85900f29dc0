#!/bin/bash
# `jit run-due` gives the all-clear (exit code 0) while an access is overdue, so cron and serverless
# set-ups hear nothing of it.
#
# Must be: the exit code is not 0 as long as something that is due has not been done. If its target
# is not configured, the target is named.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; fresh prod; without_dead_man
control=$(ask dave orders_read 1s); sleep 1.2; run_due
[ $RC = 0 ] && verified "$control" || cannot "windows do not even end where nothing is in the way ($RC)"
step "(a) a membership depends on it"; id=$(ask alice orders_read 2s); pg_holds prod orders_read alice || cannot "nothing is granted"
# alice passes it on: REVOKE without CASCADE is refused
pg prod postgres orders "grant orders_read to alice with admin option granted by jit_broker" "grant orders_read to dave granted by alice"
sleep 2.2; run_due; first=$RC; run_due; again=$RC; step "$(state "$id"), held: $(pg_member prod orders_read alice), exit codes $first and $again"
if pg_holds prod orders_read alice; then
  [ $first != 0 ] || fault "a revoke has just failed, and run-due says 0"
  [ $again != 0 ] || fault "an access is overdue, and the next run-due says 0"
else in_state "$id" revoked || fault "the role is gone, and the access is $(state "$id")"; step "(a) it was revoked all the same"; fi
pg prod postgres orders "revoke orders_read from dave granted by alice"
step "(b) the target gets another name"
pg prod postgres orders "create role ann login"; sed -i 's/"dave"\]/"dave", "ann"]/' policy.toml
id=$(ask ann orders_read 2s); pg_holds prod orders_read ann || cannot "nothing is granted"
sed -i 's/targets.orders-prod\]/targets.orders]/' jit.toml; sleep 2.2; run_due; step "$(state "$id"), held: $(pg_member prod orders_read ann), exit code $RC"
if pg_holds prod orders_read ann; then
  [ $RC != 0 ] || fault "the target of an access that is due is not configured any more, and run-due says 0"
  printf '%s\n%s\n' "$OUT" "$ERRORS" | grep -q orders-prod || fault "and it does not name the target that is not configured"
fi
verdict
