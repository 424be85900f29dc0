#!/bin/bash
# A grantee keeps a role by a lock on the catalog that the REVOKE waits for (PostgreSQL 17: a role
# in pg_maintain).
#
# Must be: if the account's own sessions block the revoke, these are ended first, and then the role
# is revoked.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; pg prod postgres orders "create role keeper nologin" "grant pg_maintain to keeper"; pg_may_grant prod keeper
fresh prod 'dead_man_grace = "2s"'; rule keeper
control=$(ask dave orders_read 1s); sleep 1.2; run_due; verified "$control" || cannot "windows do not even end without a lock"
asks alice keeper 5s; [ -n "$ID" ] || right "such a role is refused"
pg_holds prod keeper alice || cannot "alice has not got the role"
pg_session prod alice orders; say "begin; lock table pg_auth_members in share row exclusive mode; select 1000 + 1;"
until_true 3 said 1001 || cannot "alice gets no lock: $(tail -1 "$SAID")"
pump; until_true 20 pg_holds_not prod keeper alice || wrong "15 s past her end alice is a member, and her session lives ($(state "$ID"))"
until_true 10 in_state "$ID" revoked || wrong "the role is gone, and the access says $(state "$ID")"
right
