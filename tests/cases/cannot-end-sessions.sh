#!/bin/bash
# Roles are granted where their sessions cannot be ended (MariaDB).
#
# Must be: what doctor refuses is refused, unless the rule says that sessions are kept.
. "$(dirname "$0")/lib.sh"
my_start prod mariadb; my_world prod; jit_toml; plain_policy; target orders-prod "$(my_url prod)"; mend prod
control=$(ask dave orders_read 60s); my_holds prod orders_read dave || cannot "nothing is granted"
my prod "revoke connection admin on *.* from jit_broker@'%'"
try jit doctor; [ "$RC" != 0 ] || step "doctor is content"
asks alice orders_read 4s; step "alice asked: ${ID:-refused}"
[ -n "$ID" ] && my_holds prod orders_read alice || right "it is not granted"
my_session prod alice; say "set role orders_read; select 1000 + 1, count(*) from orders.stuck;"; until_true 5 said 1001 || cannot "alice cannot use the role"
sleep 5; try jit run-due; sleep 1
say "select 1000 + 2, count(*) from orders.stuck;"; sleep 1
! said 1002 || wrong "alice reads on after her window ($(state "$ID"))"
right
