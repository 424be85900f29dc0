#!/bin/bash
# The administrator of a managed server may end sessions, but may not pass that right on (PostgreSQL
# 16 and later).
#
# Must be: the administrator can run what doctor prints (for example, a function of theirs that ends
# sessions of accounts that are not superusers). Then sessions end with their windows.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_in prod postgres postgres <<'S'
create role managed nologin; grant pg_signal_backend, pg_read_all_stats, pg_monitor to managed;
create role steward login createrole createdb password 'pw-steward'; grant managed to steward;
create database orders owner steward;
create role alice login; create role dave login;
S
pg_in prod steward orders <<'S'
create role orders_read nologin; create role orders_write nologin; create table stuck (id int); grant select on stuck to orders_read;
create role jit_broker login noinherit password 'pw-broker'; grant orders_read, orders_write to jit_broker with admin option, inherit false, set false;
S
jit_toml; plain_policy; sed -i 's/^max = "4h"/max = "4h"\nset_role = "allowed"/' policy.toml; target orders-prod "$(pg_url prod)"
mends >mend.sql; grep -q . mend.sql || cannot "doctor has nothing to mend"
try pg_in prod steward orders <mend.sql
[ "$RC" = 0 ] || wrong "the administrator cannot run what doctor printed: $(printf '%s' "$ERRORS" | head -1 | head -c 120)"
asks alice orders_read 4s; [ -n "$ID" ] && pg_holds prod orders_read alice || wrong "doctor's statements were run, and nothing is granted"
pg_session prod alice orders; say "set role orders_read;" "select 1000 + 1, count(*) from stuck;"; until_true 5 said 1001 || cannot "alice cannot use the role"
sleep 4; try jit run-due; until_true 6 in_state "$ID" revoked || true
[ "$(pg prod postgres postgres "select count(*) from pg_stat_activity where usename = 'alice'")" = 0 ] || wrong "alice's session is there after her window"
in_state "$ID" revoked || wrong "the end is not verified ($(state "$ID"))"
right
