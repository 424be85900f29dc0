#!/bin/bash
# A tenant's notices go to nobody, because another tenant has a notifier.
#
# Must be: no name of one tenant can be read as another's. A name that cannot be told apart is
# refused, or kept apart.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod
printf %s whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo= >secret; chmod 600 secret
free_port; own=$REPLY; free_port; other=$REPLY
hooks "$own own.log ok ok" "$other other.log ok ok"
hook() { printf 'url = "http://127.0.0.1:%s/"\nsecret_file = "secret"\nplaintext = "danger-allowed"\n' "$1"; }
world() { # TENANT OTHER-TENANT OTHER-RECEIVER
  rm -f jit.db*; : >own.log; : >other.log
  { printf '[store]\nurl = "sqlite:jit.db"\n[tenants."%s"]\npolicy = "none.toml"\n[tenants."%s".notify.webhook."%s"]\n' "$2" "$2" "$3"; hook "$other"
    printf '[tenants."%s"]\npolicy = "policy.toml"\n[tenants."%s".notify.webhook.dba]\n' "$1" "$1"; hook "$own"
    printf '[tenants."%s".targets.orders-prod]\nurl = "%s"\npassword_env = "BROKER_PW"\ntls = { mode = "danger-plaintext" }\n' "$1" "$(pg_url prod)"; } >jit.toml
}
printf 'version = 1\n' >none.toml; plain_policy
asked() { LIMIT=8 try jit --tenant "$1" request --target orders-prod --role orders_write --for 5s --as alice; taken=$RC; LIMIT=8 try jit --tenant "$1" run-due; }
world team org team/webhook:dba; asked team; [ -s own.log ] && [ ! -s other.log ] || cannot "with plain names the tenant's own receiver is not told"
world org/webhook:team org team/webhook:dba; asked org/webhook:team
step "the request ended with $taken; told: the own receiver $(grep -c . own.log || true) times, the other tenant's $(grep -c . other.log || true)"
[ ! -s other.log ] || wrong "the other tenant's receiver is told of the request"
[ "$taken" = 2 ] || [ -s own.log ] || wrong "the tenant's own receiver is not told of the request (the command ended with $taken)"
right
