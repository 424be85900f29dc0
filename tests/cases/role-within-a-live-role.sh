#!/bin/bash
# A requestable role contains another one. The wider role is live by an access, and the narrower one
# is requested (PostgreSQL 17, MariaDB).
#
# Must be: the narrower role is granted, and stays until its own end, past that of the wider one. Or
# it is refused with the name of the access that gives it already, and the log has no finding about
# standing access.
. "$(dirname "$0")/lib.sh"
for kind in 17 mariadb; do
  is=pg; [ $kind != mariadb ] || is=my
  step "$kind"; server=s$kind; ${is}_start $server $kind; ${is}_world $server
  if [ $is = pg ]; then pg $server postgres orders "create role orders_admin nologin" "grant orders_read to orders_admin"; pg_may_grant $server orders_admin
  else my $server "create role orders_admin; grant orders_read to orders_admin"; my_may_grant $server orders_admin; fi
  fresh $server; rule orders_admin
  wide=$(ask alice orders_admin 6s); ${is}_holds $server orders_admin alice || cannot "$kind: nothing is granted"
  asks alice orders_read 20s; step "orders_read: ${ID:-refused}"
  if [ -n "$ID" ]; then
    sleep 6.2; run_due; in_state "$wide" revoked || cannot "$kind: the wider one does not end"
    ${is}_holds $server orders_read alice || fault "$kind: granted for longer, and gone with the wider one ($(state "$ID"))"
  else
    refused=$ERRORS$OUT
    grep -q "$wide" <<<"$refused" || fault "$kind: refused, without the access by which she has it"
    rm -f log; jit audit export log >/dev/null 2>&1 || cannot "the log cannot be read"
    grep -q '"orders_admin"' log || cannot "the log does not tell of the wider one"
    ! grep '"orders_read"' log | grep '"what":"finding"' | grep -q '"kind":"standing"' || fault "$kind: and a standing membership that there is not is in the log"
  fi
  if [ $is = pg ]; then down $server QUIT; else down $server KILL; fi
done
verdict
