#!/bin/bash
# Strangers stop the ends of windows by connecting to the address for callbacks.
#
# Must be: connections from outside are limited in number and time, and the pump always gets what it
# needs.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; jit_toml; plain_policy; target orders-prod "$(pg_url prod)"
free_port; port=$REPLY; ulimit -Sn 1024
serve "$port" || cannot "jit serve does not start: $(tail -1 serve.log)"
control=$(ask dave orders_read 2s); until_true 8 in_state "$control" revoked || cannot "jit serve ends nothing even before"
background "$PYTHON" "$TOOLS/half_open.py" "$port" 1500 60 >held; until_true 20 test -s held; sleep 1; step "held: $(<held)"
id=$(ask alice orders_read 6s); pg_holds prod orders_read alice || cannot "nothing is granted"
down prod INT; pg_up prod
sleep 5; until_true 12 pg_holds_not prod orders_read alice || wrong "10 s past its end the role is there, because strangers hold $(<held) connections to jit serve"
right
