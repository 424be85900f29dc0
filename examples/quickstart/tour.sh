# The tour: everything that a careful team can demand before a role is granted. Sourced by
# quickstart.sh.

need_for_the_tour() {
    # whoever commits something may be who tells of it: notices of every command are kept
    jit() {
        local status
        JIT_LOG=jit::notify=info "$JIT" --config "$WORK/jit.toml" "$@" 2>"$WORK/stderr"
        status=$?
        grep 'jit::notify' "$WORK/stderr" >>"$WORK/notices.log"
        grep -v 'jit::notify' "$WORK/stderr" >&2
        return $status
    }

    command -v oathtool >/dev/null 2>&1 || install oathtool
    command -v python3 >/dev/null 2>&1 || install python3
}

# A tracker: tickets are files, and a web server shows them.
start_tracker() {
    mkdir "$WORK/tracker"
    printf '{"status": "closed", "assignee": "alice"}\n' >"$WORK/tracker/OPS-11.json"
    printf '{"status": "open", "assignee": "alice"}\n' >"$WORK/tracker/OPS-12.json"
    TRACKER_PORT=$(free_port) || fail "no port is free"
    python3 -m http.server --bind 127.0.0.1 --directory "$WORK/tracker" "$TRACKER_PORT" >"$WORK/tracker.log" 2>&1 &
    TRACKER=$!
    for _ in $(seq 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$TRACKER_PORT") 2>/dev/null && return
        sleep 0.1
    done
    fail "the tracker does not answer"
}

configure_tour() {
    cat >>"$WORK/jit.toml" <<TOML

[mfa.totp]
issuer = "jit tour"
key = "mfa.key"

[notify.log.people]

[approvers.tracker]
kind = "ticket"
url = "http://127.0.0.1:$TRACKER_PORT/{ticket}.json"
plaintext = "danger-allowed"            # it is on this machine
conditions = [{ name = "status", at = "/status", one_of = ["open"] }, { name = "assignee", at = "/assignee", requester = "{requester}" }]
TOML
    cat >"$WORK/policy.toml" <<TOML
version = 1

[groups]
payments = ["alice"]
dba      = ["bob", "carol"]
oncall   = ["grace"]
security = ["frank"]

[managers]
alice = "dana"

[[rule]]
name        = "change orders"
targets     = ["orders-prod"]
roles       = ["orders_write"]
requesters  = ["group:payments"]
max         = "1h"
ticket      = { pattern = "OPS-[0-9]+", check = "tracker" }
break_glass = { by = ["alice"], max = "15m", review_by = ["group:security"], within = "24h", mfa = { within = "5m" } }
$RULE

[[rule.stage]]
mfa      = { of = "requester", within = "5m" }

[[rule.stage]]
people   = [{ manager_of = "requester" }, { group = "dba", quorum = 2 }]
escalate = { after = "3s", to = "group:oncall" }
mfa      = { of = "approver", within = "5m" }
TOML
}

# The code of somebody, so many seconds from now.
code() {
    local key
    key=$(cat "$WORK/totp.$1")
    oathtool --totp --base32 --now "@$(($(date +%s) + ${2:-0}))" "$key"
}

# Does it, shows what it says first, and fails where it is not done.
told() {
    "$@" >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "\`$*\` did not work"; }
    sed '/^$/q' "$WORK/said" | indented
}

enrol() {
    jit mfa enroll --as "$1" --json >"$WORK/enrolment" 2>"$WORK/said" || { indented <"$WORK/said"; fail "$1 cannot set codes up"; }
    (umask 077 && sed -n 's/.*secret=\([A-Z2-7]*\).*/\1/p' "$WORK/enrolment" >"$WORK/totp.$1")
    rm -f "$WORK/enrolment"
    # the code of half a minute ago, so that the current one is still unused; it may run out just
    # then
    for _ in 1 2 3; do
        jit mfa confirm --totp "$(code "$1" -30)" --as "$1" >"$WORK/said" 2>&1 && { indented <"$WORK/said"; return 0; }
    done
    indented <"$WORK/said"
    fail "the first code of $1 was refused"
}

tour() {
    step "Four people set their codes up; an authenticator application would scan them, here oathtool shows them"
    for who in alice dana bob grace; do enrol "$who"; done
    good "the seeds are sealed in the store, under a key that is not in it"

    step "The pump runs, and alice asks with a ticket that is closed"
    JIT_LOG=jit::notify=info "$JIT" --config "$WORK/jit.toml" pump >"$WORK/pump.log" 2>&1 &
    PUMP=$!
    ask() { jit request --target orders-prod --role orders_write --for 10m --reason 'stuck orders' --as alice "$@"; }
    shown "jit request --target orders-prod --role orders_write --for 10m --ticket OPS-11 --as alice"
    ask --ticket OPS-11 --json >"$WORK/request.json" 2>&1
    [ "$(wait_for "$(field id <"$WORK/request.json")" denied)" = denied ] || fail "a closed ticket was accepted"
    jit show "$(field id <"$WORK/request.json")" | grep '^cause' | indented
    good "the tracker was asked, and said no"

    step "With an open ticket of alice it waits for a code of alice, then for people"
    shown "jit request ... --ticket OPS-12 --as alice"
    ask --ticket OPS-12 --json >"$WORK/request.json" 2>"$WORK/said" || { indented <"$WORK/said"; fail "the request was not taken"; }
    ID=$(field id <"$WORK/request.json")
    awaited 'a second factor'
    shown "jit confirm $ID --totp ... --as alice"
    told jit confirm "$ID" --totp "$(code alice)" --as alice

    step "The manager of alice and a DBA say yes, each with a code; the other DBA is away"
    shown "jit approve $ID --as dana"
    jit approve "$ID" --as dana >"$WORK/said" 2>&1 && fail "a yes without a code was taken"
    indented <"$WORK/said"
    for who in dana bob; do
        shown "jit approve $ID --totp ... --as $who"
        told jit approve "$ID" --totp "$(code "$who")" --as "$who"
    done

    step "After 3 seconds whoever is on call may stand in"
    for _ in $(seq 100); do
        jit show "$ID" | grep -q ' escalated' && break
        sleep 0.1
    done
    shown "jit approve $ID --totp ... --as grace"
    told jit approve "$ID" --totp "$(code grace)" --as grace
    grep -q '^usable:' "$WORK/said" || fail "the role is not usable after the last yes"
    as alice "$DO" "$WRITE" >"$WORK/said" 2>&1 || { indented <"$WORK/said"; fail "alice cannot write with the role"; }
    good "usable at once, and used"
    told jit release "$ID" --as alice

    step "An emergency: at once, with a code of alice, and somebody else owes a review"
    shown "jit request --break-glass --target orders-prod --role orders_write --for 10m --reason 'the site is down' --totp ... --as alice"
    jit request --break-glass --target orders-prod --role orders_write --for 10m --reason 'the site is down' --totp "$(code alice 30)" \
        --as alice --json >"$WORK/request.json" 2>"$WORK/said" || { indented <"$WORK/said"; fail "the emergency was not granted"; }
    EMERGENCY=$(field id <"$WORK/request.json")
    told jit show "$EMERGENCY"
    grep -q '^review *owed' "$WORK/said" || fail "no review is owed"
    told jit release "$EMERGENCY" --as alice
    jit review "$EMERGENCY" --note fine --as alice >"$WORK/said" 2>&1 && fail "alice reviewed an emergency of alice"
    indented <"$WORK/said"
    shown "jit review $EMERGENCY --note 'it was needed' --as frank"
    told jit review "$EMERGENCY" --note 'it was needed' --as frank

    step "People were told, and all of it is in the log"
    for what in requested escalated approved active break-glass reviewed; do
        for _ in $(seq 50); do
            grep -q "event=$what" "$WORK/pump.log" "$WORK/notices.log" && break
            sleep 0.1
        done
        grep -q "event=$what" "$WORK/pump.log" "$WORK/notices.log" || fail "nobody was told: $what"
    done
    cat "$WORK/pump.log" "$WORK/notices.log" | grep -c 'jit::notify' | sed 's/$/ notices went out/' | indented
    jit show "$ID" >"$WORK/said" || fail "the access cannot be shown"
    sed '1,/^$/d' "$WORK/said" | cut -c 1-150 | indented
    shown "jit audit verify"
    told jit audit verify
    good "complete and unchanged"
}

# Waits for a state; the state that it is in then.
wait_for() {
    for _ in $(seq 100); do
        jit show "$1" 2>/dev/null | sed -n 's/^state *\([a-z]*\).*/\1/p' | head -n 1 >"$WORK/state"
        [ "$(cat "$WORK/state")" = "$2" ] && break
        sleep 0.1
    done
    cat "$WORK/state"
}

# Waits until the access is pending on that.
awaited() {
    for _ in $(seq 100); do
        jit show "$ID" >"$WORK/said" && grep -q "^pending on .*$1" "$WORK/said" && break
        sleep 0.1
    done
    grep "^pending on .*$1" "$WORK/said" | indented
    grep -q "^pending on .*$1" "$WORK/said" || fail "it does not wait for $1"
}
