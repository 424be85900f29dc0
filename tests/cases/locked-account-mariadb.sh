#!/bin/bash
# The broker's account is locked, and the hint is about TLS (MariaDB).
#
# Must be: that the account is locked is said, and nobody is sent to the TLS settings.
. "$(dirname "$0")/lib.sh"
my_start prod mariadb; my_world prod; fresh prod
try jit doctor; [ $RC = 0 ] || cannot "doctor fails without the lock: ${ERRORS:0:200}"
my prod "alter user jit_broker@'%' account lock"; try jit doctor; said=$OUT$ERRORS; try jit doctor --json; said+=$OUT$ERRORS; try jit request --target orders-prod --role orders_read --for 5s --as alice; said+=$OUT$ERRORS
printf '%s\n' "$said" >said; step "$(grep -i -o 'target.*' said | head -2 | tr '\n' ' ')"
grep -qi lock said || wrong "that the account is locked is not said anywhere"
! grep -i 'lock' said | grep -qi 'verify-full' || wrong "the account is locked, and the hint is about tls"
right
