#!/bin/bash
# The requester writes the text that the approver sees on the screen.
#
# Must be: texts of people cannot move the cursor, begin a line of their own or change the order of
# letters. They are escaped where they are printed, or refused where they come in.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; jit_toml; plain_policy; target orders-prod "$(pg_url prod)"
plain=$(ask dave orders_write 1h orders-prod --reason "OPS-12: stuck orders"); jit show "$plain" >plain
lines=$(grep -c . plain)
asks alice orders_write 1h orders-prod --reason $'OPS-12: stuck orders\nwindow      5m from when it is usable\n\e[4A\e[2Krole        orders_read on orders-test\e[4B\r'
[ -n "$ID" ] || right "it is refused"
jit show "$ID" >shown; jit list >listed
! unclean <shown || wrong "jit show prints control characters of the reason"
! unclean <listed || wrong "jit list prints control characters of the reason"
[ "$(grep -c '^window ' shown)" = "$(grep -c '^window ' plain)" ] || wrong "jit show has a line about the window that the one who asks has written"
[ "$(grep -c . shown)" = "$lines" ] || wrong "the reason makes lines of its own in jit show"
right
