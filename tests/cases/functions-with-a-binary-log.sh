#!/bin/bash
# The administrator of a managed server cannot run what `jit doctor` prints for the dead man's
# switch (MariaDB, MySQL).
#
# Must be: such an administrator can run what doctor prints (procedures are not affected), or doctor
# says before which setting of the server it takes (log_bin_trust_function_creators).
. "$(dirname "$0")/lib.sh"
faults=()
for kind in mariadb mysql; do
  need_my $kind; step $kind
  my_start $kind $kind --log-bin=bin --server-id=1; my_world $kind
  my $kind "create user steward@'%' identified by 'pw-steward'; grant all on *.* to steward@'%' with grant option"
  if [ $kind = mariadb ]; then my $kind "revoke super on *.* from steward@'%'; grant orders_read to steward@'%' with admin option; grant orders_write to steward@'%' with admin option"
  else my $kind "revoke super on *.* from steward@'%'"; fi
  rm -f jit.db*; jit_toml; plain_policy; rule orders_write; sed -i 's/^max = "4h"/max = "4h"\ndead_man = "required"/' policy.toml; target orders-prod "$(my_url $kind)"
  try jit doctor --json; printf '%s' "$OUT" >doctor.json; mends >mend.sql
  if grep -qi log_bin_trust_function_creators doctor.json; then continue; fi
  RC=0; mariadb --no-defaults --skip-ssl -h127.0.0.1 -P"${PORT[$kind]}" -usteward -ppw-steward <mend.sql >mend.out 2>&1 || RC=$?
  if [ $RC != 0 ]; then faults+=("$kind: $(grep -o 'ERROR [0-9]*' mend.out | head -1)"); down $kind KILL; continue; fi
  ask alice orders_read 20s >/dev/null; my_holds $kind orders_read alice || faults+=("$kind: nothing is granted where a dead-man is required")
  down $kind KILL
done
[ ${#faults[@]} = 0 ] || wrong "an administrator without SUPER cannot run what doctor printed: $(IFS=';'; echo "${faults[*]}")"
right
