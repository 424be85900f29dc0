#!/bin/bash
# The name of a server leads to another one, and a revoke there counts as done (MariaDB).
#
# Must be: what is live stays overdue and visible until the server that was meant answers again.
. "$(dirname "$0")/lib.sh"
my_start a mariadb; my_world a; my_start b mariadb; my_world b
free_port; name=$REPLY; echo "${PORT[b]}" >where; background "$PYTHON" "$TOOLS/proxy.py" "$name" "$W/where"; until_true 10 listens "$name"
jit_toml; plain_policy; target orders-prod "mariadb://jit_broker@127.0.0.1:$name"; mend b
rm -f jit.db*; echo "${PORT[a]}" >where; mend a
pump; sleep 1
control=$(ask dave orders_read 2s); until_true 8 in_state "$control" revoked; my_holds_not a orders_read dave || cannot "windows do not even end without a move"
id=$(ask alice orders_read 6s); my_holds a orders_read alice || cannot "nothing is granted"
cut() { for id_of in $(my "$1" "select ID from information_schema.PROCESSLIST where USER = 'jit_broker'"); do my "$1" "kill $id_of" 2>/dev/null || true; done; }
echo "${PORT[b]}" >where; cut a; step "the name leads to b now"; sleep 11
if in_state "$id" revoked && my_holds a orders_read alice; then wrong "revoked, says jit, and the server that granted the role holds it"; fi
step "and to a again: $(state "$id")"; echo "${PORT[a]}" >where; cut b
until_true 60 my_holds_not a orders_read alice || wrong "the server that granted the role answers again, and keeps it ($(state "$id"))"
until_true 10 in_state "$id" revoked || wrong "the role is gone, and the access says $(state "$id")"
right
