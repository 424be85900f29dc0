#!/bin/bash
# A tenant's question goes to another tenant's system.
#
# Must be: no name of one tenant can be read as another's. A name that cannot be told apart is
# refused, or kept apart.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod
printf %s whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo= >secret; chmod 600 secret
free_port; own=$REPLY; free_port; other=$REPLY
hooks "$own own.log approve approve" "$other other.log approve approve"
hook() { printf 'url = "http://127.0.0.1:%s/"\nsecret_file = "secret"\nplaintext = "danger-allowed"\n' "$1"; }
world() { # TENANT OTHER-TENANT OTHER-APPROVER
  rm -f jit.db*; : >own.log; : >other.log
  { printf '[store]\nurl = "sqlite:jit.db"\n[tenants."%s"]\npolicy = "none.toml"\n[tenants."%s".approvers."%s"]\nkind = "webhook"\n' "$2" "$2" "$3"; hook "$other"
    printf '[tenants."%s"]\npolicy = "policy.toml"\n[tenants."%s".approvers.board]\nkind = "webhook"\n' "$1" "$1"; hook "$own"
    printf '[tenants."%s".targets.orders-prod]\nurl = "%s"\npassword_env = "BROKER_PW"\ntls = { mode = "danger-plaintext" }\n' "$1" "$(pg_url prod)"; } >jit.toml
}
printf 'version = 1\n' >none.toml
policy <<'T'
version = 1
[[rule]]
name = "write"
targets = ["orders-prod"]
roles = ["orders_write"]
requesters = ["alice"]
max = "1h"
[[rule.stage]]
approvers = ["board"]
T
asked() { try jit --tenant "$1" request --target orders-prod --role orders_write --for 5s --as alice; taken=$RC; sleep 1; try jit --tenant "$1" run-due; }
world team org board; asked team
[ -s own.log ] && [ ! -s other.log ] && pg_holds prod orders_write alice || cannot "with plain names the tenant's own system is not asked"
sleep 5; try jit --tenant team run-due; pg_holds_not prod orders_write alice || cannot "the role of the first try does not go"
world org/webhook:team org webhook:team/board; asked org/webhook:team
step "the request ended with $taken; asked: the own system $(grep -c . own.log || true) times, the other tenant's $(grep -c . other.log || true)"
[ ! -s other.log ] || wrong "the other tenant's system was asked$(pg_holds_not prod orders_write alice || echo ", and its yes granted the role")"
[ "$taken" = 2 ] || [ -s own.log ] || wrong "the tenant's own system is not asked"
right
