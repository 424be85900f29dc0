#!/bin/bash
# Any account can use up a resource of the whole server: the prepared statements (MySQL, MariaDB:
# max_prepared_stmt_count). Jit must not need one to take a role away.
#
# Must be: after mallory, who holds no role, has used up all of them, a window still ends in time:
# by a pump and, without one, by the dead man's switch.
. "$(dirname "$0")/lib.sh"
for kind in mysql mariadb; do
  need_my $kind; step $kind; my_start $kind $kind --max-prepared-stmt-count=40; my_world $kind
  my $kind "create user mallory@'%' identified by 'pw-mallory'; create role extra"; my_may_grant $kind extra
  fresh $kind 'dead_man_grace = "2s"'; rule extra 'activation = "session"'
  control=$(ask dave orders_read 1s); sleep 1.2; run_due; verified "$control" || cannot "$kind: windows do not even end without her"
  one=$(ask alice orders_read 8s) two=$(ask dave extra 8s)
  my_holds $kind orders_read alice && my_holds $kind extra dave || cannot "$kind: nothing was granted"
  my_session $kind mallory; for i in $(seq 45); do say "prepare p$i from 'do 1';"; done
  say "select 1000 + 1;"; until_true 5 said 1001 || cannot "$kind: $(tail -1 "$SAID")"
  [ "$(my $kind "show global status like 'Prepared_stmt_count'" | cut -f 2)" = 40 ] || cannot "$kind: some are left"
  until_true 20 my_holds_not $kind orders_read alice || fault "$kind: past the switch's time alice is a member"
  until_true 5 my_holds_not $kind extra dave || fault "$kind: past the switch's time dave is a member"
  run_due; verified "$one" && verified "$two" || fault "$kind: not revoked: $(state "$one"), $(state "$two")"
  asks dave extra 2s; [ -n "$ID" ] && my_holds $kind extra dave || fault "$kind: dave gets nothing while she goes on"
  pump; until_true 8 verified "$ID" || fault "$kind: past the end a pump has not revoked it: $(state "$ID")"
  kill -TERM "$PUMP"; down $kind KILL
done
verdict
