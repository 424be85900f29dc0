#!/bin/bash
# A managed server gives nobody the right to end sessions, but has a procedure that does it
# (MariaDB, MySQL).
#
# Must be: if the broker may call the vendor's procedure (mysql.rds_kill, mysql.az_kill), jit uses
# it, and counts it as the right to end sessions.
. "$(dirname "$0")/lib.sh"
faults=()
for kind in mariadb mysql; do
  need_my $kind; step $kind
  my_start $kind $kind; my_world $kind; rm -f jit.db*; jit_toml; plain_policy; target orders-prod "$(my_url $kind)"; mend $kind
  control=$(ask dave orders_read 60s); my_holds $kind orders_read dave || cannot "nothing is granted"
  right_name="connection admin"; [ $kind = mariadb ] || right_name=connection_admin
  my_in $kind <<S
create user vendor@localhost identified by 'x'; grant all on *.* to vendor@localhost with grant option;
delimiter //
create definer = vendor@localhost procedure mysql.rds_kill(in thread bigint) sql security definer
begin
  declare whose varchar(128); select USER into whose from information_schema.PROCESSLIST where ID = thread;
  if whose = 'vendor' then signal sqlstate '45000' set message_text = 'not this one'; end if;
  kill thread;
end//
delimiter ;
grant execute on procedure mysql.rds_kill to jit_broker@'%'; revoke $right_name on *.* from jit_broker@'%';
S
  try ask alice orders_read 4s; ID=$OUT
  if [ "$RC" != 0 ] || my_holds_not $kind orders_read alice; then faults+=("on $kind nothing is granted"); down $kind KILL; continue; fi
  jit show "$ID" | grep -q dead-man-armed || faults+=("on $kind there is no dead man's switch")
  my_session $kind alice; say "set role orders_read; select 1000 + 1, count(*) from orders.stuck;"; until_true 5 said 1001 || cannot "alice cannot use the role"
  sleep 4; try jit run-due; until_true 6 in_state "$ID" revoked || true
  my $kind "select count(*) from information_schema.PROCESSLIST where USER = 'alice'" >left
  [ "$(<left)" = 0 ] && in_state "$ID" revoked || faults+=("on $kind $(<left) of alice's sessions is there, and the access is $(state "$ID")")
  down $kind KILL
done
[ ${#faults[@]} = 0 ] || wrong "$(IFS=';'; echo "${faults[*]}")"
right
