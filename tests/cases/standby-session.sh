#!/bin/bash
# A session on a standby keeps a role that was revoked on the primary, and the end counts as
# verified.
#
# Must be: sessions on standbys end too. Or, as long as jit does not look at them, doctor or the
# audit event of the end says so.
. "$(dirname "$0")/lib.sh"
need_pg 15; [ -x /usr/lib/postgresql/15/bin/pg_basebackup ] || cannot "pg_basebackup is missing: the project's ./tests/run.sh brings it"
pg_start prod 15; pg_world prod
mkdir "$W/standby"; own "$W/standby"; DATA[standby]=$W/standby/data KIND[standby]=15
as_server /usr/lib/postgresql/15/bin/pg_basebackup -h "$W/prod" -p "${PORT[prod]}" -U postgres -D "${DATA[standby]}" -R -c fast >basebackup 2>&1 || cannot "pg_basebackup: $(tail -1 basebackup)"
free_port; PORT[standby]=$REPLY; pg_settings standby; pg_up standby
jit_toml; plain_policy; sed -i 's/^max = "4h"/max = "4h"\nset_role = "allowed"/' policy.toml; target orders-prod "$(pg_url prod)"
try jit doctor --json; printf '%s' "$OUT" >told
ID=$(ask alice orders_read 5s); pg_holds prod orders_read alice || cannot "nothing is granted"
until_true 10 pg_holds standby orders_read alice || cannot "the standby does not follow"
pg_session standby alice orders; say "set role orders_read;" "select 1000 + 1, count(*) from stuck;"; until_true 4 said 1001 || cannot "alice cannot use the role on the standby"
sleep 5; try jit run-due; until_true 10 in_state "$ID" revoked || cannot "the window does not end"
until_true 10 pg_holds_not standby orders_read alice || cannot "the standby does not follow"; sleep 1
say "select 1000 + 2, count(*) from stuck;"; sleep 1
said 1002 || right "her session there has ended"
show "$ID" >>told; grep -Eqi 'standby|replica' told || wrong "alice reads on on a standby after her end, which says that it is verified, and nothing tells that nobody looked there"
right "it is told"
