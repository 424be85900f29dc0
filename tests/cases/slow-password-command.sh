#!/bin/bash
# A program that gives the password takes 6 seconds.
#
# Must be: the program has its own limit (10 s or more), and the connection its own.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; jit_toml; plain_policy
target fast "$(pg_url prod)" 'password_command = ["sh", "-c", "echo pw-broker"]'
ask dave orders_read 60s fast >/dev/null; pg_holds prod orders_read dave || cannot "nothing is granted with a program that is fast"
rm -f jit.db*; jit_toml; target orders-prod "$(pg_url prod)" 'password_command = ["sh", "-c", "sleep 6; echo pw-broker"]'
try ask alice orders_read 60s; for _ in 1 2; do pg_holds prod orders_read alice && right; try jit run-due; done
pg_holds prod orders_read alice || wrong "with a program that takes 6 s nothing is granted: ${ERRORS:0:120}"
right
