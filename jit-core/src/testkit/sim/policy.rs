//! What everybody may do in a history. The laws know it too, on their own: see `laws`.

/// The same where the first server has dead-men: rules about some roles require one there.
pub(super) fn guarded(policy: &str) -> String {
    let rule = |rule: &str| {
        let guards = ["write", "administer"].into_iter().find(|name| rule.starts_with(&format!("name = \"{name}\"\n")));
        guards.map(|name| {
            let first = rule.replacen(name, &format!("{name} with a dead-man"), 1);
            let first = first.replacen("targets = [\"a*\", \"b*\"]", "targets = [\"a*\"]\ndead_man = \"required\"", 1);
            format!("{first}[[rule]]\n{rule}")
        })
    };
    let rules = policy.split("[[rule]]\n").map(|one| rule(one).unwrap_or_else(|| one.to_owned()));
    rules.collect::<Vec<_>>().join("[[rule]]\n")
}

/// The policies of tenant `default`: under the second `bob` decides nothing any more, and `dave` may not read.
pub(super) const DEFAULT: [&str; 2] = [
    r#"
version = 1
[groups]
dba = ["bob", "carol", "alice-dba"]
[people]
alice = ["alice-dba"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile"]
who = ["frank"]
targets = ["*"]
[[rule]]
name = "read"
targets = ["a*", "b*"]
roles = ["reader"]
requesters = ["*"]
max = "3m"
max_total = "5m"
start_within = "1h"
grant_within = "1m"
[[rule]]
name = "read widely"
targets = ["wide"]
roles = ["reader"]
requesters = ["*"]
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
[[rule]]
name = "administer"
targets = ["a*", "b*"]
roles = ["admin"]
requesters = ["*"]
max = "3m"
decide_by = "2m"
start_within = "1h"
grant_within = "1m"
[[rule.stage]]
people = [{ group = "dba", quorum = 2 }]
"#,
    r#"
version = 1
[groups]
dba = ["carol", "alice-dba"]
readers = ["alice", "erin", "bob", "carol", "frank", "mallory"]
[people]
alice = ["alice-dba"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile"]
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
[[rule]]
name = "administer"
targets = ["a*", "b*"]
roles = ["admin"]
requesters = ["*"]
max = "3m"
decide_by = "2m"
start_within = "1h"
grant_within = "1m"
[[rule.stage]]
people = [{ group = "dba", quorum = 2 }]
"#,
];

/// The policy of tenant `other`, on the same server.
pub(super) const OTHER: &str = r#"
version = 1
[[may]]
do = ["reconcile"]
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
