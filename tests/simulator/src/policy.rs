//! Policies of a history. The laws know the same rules on their own: see `laws`.

/// Returns the policy of tenant `default`, the first or the second.
pub(super) fn default(second: bool) -> String {
    format!("{}{RULES}", if second { SECOND } else { FIRST })
}

/// Returns the same policy for a first server with dead man's switches: rules about some roles
/// require one there.
pub(super) fn guarded(policy: &str) -> String {
    let rule = |rule: &str| {
        let guards = ["write", "administer"].into_iter().find(|name| rule.starts_with(&format!("name = \"{name}\"\n")));
        guards.map(|name| {
            let first = rule.replacen(name, &format!("{name} with a dead man's switch"), 1);
            let first = first.replacen("targets = [\"a*\", \"b*\"]", "targets = [\"a*\"]\ndead_man = \"required\"", 1);
            format!("{first}[[rule]]\n{rule}")
        })
    };
    let rules = policy.split("[[rule]]\n").map(|one| rule(one).unwrap_or_else(|| one.to_owned()));
    rules.collect::<Vec<_>>().join("[[rule]]\n")
}

const FIRST: &str = r#"
version = 1
[groups]
dba = ["bob", "carol", "alice-dba"]
readers = ["alice", "dave", "erin", "bob", "carol", "alice-dba", "frank", "mallory"]
oncall = ["alice", "dave", "erin"]
leads = ["frank", "mallory"]
"#;

/// Groups of the second policy: `bob` decides nothing any more, and `dave` may not read and is not
/// on call.
const SECOND: &str = r#"
version = 1
[groups]
dba = ["carol", "alice-dba"]
readers = ["alice", "erin", "bob", "carol", "frank", "mallory"]
oncall = ["alice", "erin"]
leads = ["frank", "mallory"]
"#;

const RULES: &str = r#"
[people]
alice = ["alice-dba"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile", "retire"]
who = ["frank"]
targets = ["*"]
[[rule]]
name = "read"
targets = ["a*", "b*"]
roles = ["reader"]
requesters = ["group:readers"]
max = "3m"
max_total = "5m"
start_within = "1h"
grant_within = "1m"
[[rule]]
name = "read widely"
targets = ["wide"]
roles = ["reader"]
requesters = ["group:readers"]
max = "3m"
start_within = "1h"
grant_within = "1m"
set_role = "allowed"
[[rule]]
name = "write"
targets = ["a*", "b*"]
roles = ["writer"]
requesters = ["*"]
max = "3m"
max_total = "5m"
decide_by = "2m"
start_within = "1h"
grant_within = "1m"
[[rule.stage]]
people = [{ group = "dba" }]
escalate = { after = "20s", to = "group:leads" }
[[rule]]
name = "administer"
targets = ["a*", "b*"]
roles = ["admin"]
requesters = ["*"]
max = "3m"
max_total = "5m"
decide_by = "2m"
start_within = "1h"
grant_within = "1m"
[rule.break_glass]
by = ["group:oncall"]
max = "1m"
review_by = ["group:dba"]
within = "1m"
mfa = { within = "1m" }
[[rule.stage]]
people = [{ group = "dba", quorum = 2 }]
[[rule]]
name = "own"
targets = ["a*", "b*"]
roles = ["owner"]
requesters = ["*"]
max = "3m"
max_total = "5m"
decide_by = "2m"
start_within = "1h"
grant_within = "1m"
ticket = { pattern = "T-[0-9]+", check = "tracker" }
[[rule.stage]]
mfa = { of = "requester", within = "1m" }
[[rule.stage]]
people = [{ group = "dba" }]
approvers = ["board"]
mfa = { of = "approver", within = "1m" }
escalate = { after = "20s", to = "group:leads" }
"#;

/// Policy of tenant `other`, on the same server.
pub(super) const OTHER: &str = r#"
version = 1
[[may]]
do = ["reconcile", "retire"]
who = ["frank"]
targets = ["*"]
[[rule]]
name = "other"
targets = ["o*"]
roles = ["other", "reader"]
requesters = ["*"]
max = "3m"
start_within = "1h"
grant_within = "1m"
"#;
