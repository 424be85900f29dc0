#!/bin/bash
# A grantee keeps a role by a global read lock that the REVOKE waits for (MySQL, MariaDB: a role
# with RELOAD, as DBAs have).
#
# Must be: if the account's own sessions block the revoke, these are ended first, and then the role
# is revoked.
. "$(dirname "$0")/lib.sh"
for kind in mysql mariadb; do
  need_my $kind; step $kind; my_start $kind $kind; my_world $kind; my $kind "create role keeper; grant reload on *.* to keeper"; my_may_grant $kind keeper
  fresh $kind 'dead_man_grace = "2s"'; rule keeper 'activation = "session"'
  control=$(ask dave orders_read 1s); sleep 1.2; run_due; verified "$control" || cannot "$kind: windows do not even end without a lock"
  asks alice keeper 4s; step "alice asked: ${ID:-refused}"
  if [ -n "$ID" ]; then
    my_holds $kind keeper alice || cannot "$kind: alice has not got the role"
    my_session $kind alice; say "set role keeper; flush tables with read lock; select 1000 + 1;"; until_true 3 said 1001 || cannot "$kind: alice gets no lock: $(tail -1 "$SAID")"
    pump; until_true 14 my_holds_not $kind keeper alice || fault "$kind: 10 s past her end alice is a member ($(state "$ID"))"
    kill -TERM "$PUMP"
  fi
  down $kind KILL
done
verdict
