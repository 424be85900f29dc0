//! Tests of the document: what it accepts, refuses and rules.

mod approvals;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::clock::Time;
use crate::database::MembershipScope;
use crate::id::{Principal, RuleName};
use crate::model::approval::{Requirement, RequirementParty};
use crate::policy::{Prepared, Sessions, Stance};

/// A whole document, without second factors, outside systems and emergencies.
const SAMPLE: &str = r#"version = 1

[groups]
payments = ["alice", "dave"]
dba      = ["bob", "carol", "erin"]
security = ["frank"]
oncall   = ["grace"]

[managers]
alice = "bob"
dave  = "frank"

[people]                                # aliases of one human
erin = ["erin-admin"]

[accounts.orders-prod]                  # where the account is not the principal's name
alice = "alice_app"

[[may]]
do      = ["revoke", "stop", "resume", "reconcile", "retire", "clock", "audit", "mfa"]
who     = ["group:security"]
targets = ["*"]

[[may]]
do      = ["revoke", "audit"]
who     = ["grace"]
targets = ["orders-*"]

[[rule]]
name       = "read orders"
targets    = ["orders-*"]
roles      = ["orders_read"]
requesters = ["group:payments"]
max        = "4h"

[[rule]]
name       = "change orders"
targets    = ["orders-prod"]
roles      = ["orders_write"]
requesters = ["group:payments"]
max        = "1h"
max_total  = "4h"
reason     = { min_length = 10 }
ticket     = { pattern = "[A-Z]+-[0-9]+" }
decide_by  = "45m"
start_within = "24h"
sessions   = "end"
set_role   = "no"
prepared   = "rollback"

[[rule.stage]]
people  = [{ manager_of = "requester" }, { group = "dba", quorum = 2 }]

[[rule.stage]]
people  = [{ any = [{ person = "frank" }, { group = "oncall" }] }]
"#;

const HEAD: &str = "version = 1\n[groups]\ndba = [\"bob\", \"carol\"]\n";

fn name(text: &str) -> Principal {
    Principal::new(text).unwrap()
}

fn asked_at() -> Time {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A question, changed by the test before it is asked.
struct Ask {
    target: TargetName,
    role: RoleName,
    requester: &'static str,
    grantee: &'static str,
    duration: TimeDelta,
    reason: &'static str,
    ticket: Option<&'static str>,
    start: Option<Time>,
}

impl Ask {
    fn new(requester: &'static str, target: &str, role: &str) -> Self {
        Self {
            target: TargetName::new(target).unwrap(),
            role: RoleName::new(role).unwrap(),
            requester,
            grantee: requester,
            duration: TimeDelta::minutes(30),
            reason: "stuck orders",
            ticket: Some("OPS-12"),
            start: None,
        }
    }

    fn with<T>(&self, policy: &PolicyDocument, answer: impl FnOnce(&Question<'_>) -> T) -> T {
        let groups = policy.groups();
        let requester = policy.people().look_up(&name(self.requester), &groups);
        let grantee = policy.people().look_up(&name(self.grantee), &groups);
        answer(&Question {
            target: &self.target,
            role: &self.role,
            requester: &requester,
            grantee: &grantee,
            duration: self.duration,
            reason: self.reason,
            ticket: self.ticket,
            start: self.start,
            asked_at: asked_at(),
            break_glass: false,
            owes_review: false,
        })
    }

    fn ruling(&self, policy: &PolicyDocument) -> Ruling {
        self.with(policy, |question| policy.rule(question))
    }

    fn denied(&self, policy: &PolicyDocument) -> String {
        match self.ruling(policy) {
            Ruling::Denied { reason, .. } => reason,
            Ruling::Planned(plan) => panic!("planned: {plan:?}"),
        }
    }

    fn rule(&self, policy: &PolicyDocument) -> Option<String> {
        match self.ruling(policy) {
            Ruling::Denied { rule, .. } => rule.map(|rule| rule.to_string()),
            Ruling::Planned(plan) => Some(plan.rule.to_string()),
        }
    }
}

fn document(text: &str) -> PolicyDocument {
    match PolicyDocument::parse(text, "policy.toml") {
        Ok(policy) => policy,
        Err(error) => panic!("{error}"),
    }
}

fn refused(text: &str) -> String {
    PolicyDocument::parse(text, "policy.toml").expect_err("has to be refused").to_string()
}

/// Returns a rule for `alice` with further lines.
fn with_rule(more: &str) -> String {
    format!(
        "{HEAD}[[rule]]\nname = \"r\"\ntargets = [\"t\"]\nroles = [\"x\"]\nrequesters = [\"alice\"]\nmax = \"1h\"\n{more}"
    )
}

#[test]
fn the_documented_example_is_read_as_documented() {
    let policy = document(SAMPLE);
    assert_eq!(policy.check(), []);
    let Ruling::Planned(plan) = Ask::new("alice", "orders-prod", "orders_write").ruling(&policy) else {
        panic!("denied");
    };
    assert_eq!(plan.rule, RuleName::new("change orders").unwrap());
    assert_eq!(plan.policy, policy.hash());
    assert_eq!(plan.limits.max, TimeDelta::hours(1));
    assert_eq!(plan.limits.max_total, TimeDelta::hours(4));
    assert_eq!(plan.limits.decide_by, TimeDelta::minutes(45));
    assert_eq!(plan.limits.start_within, TimeDelta::hours(24));
    assert_eq!(plan.limits.grant_within, TimeDelta::minutes(15));
    assert_eq!(plan.handling.sessions, Sessions::End);
    assert_eq!(plan.handling.set_role, MembershipScope::Inherit);
    assert_eq!(plan.handling.prepared, Prepared::Rollback);
    assert_eq!(plan.handling.can_grant, Stance::Refused);
    let dba = Group::new("dba").unwrap();
    assert_eq!(
        plan.stages[0].people,
        [Requirement::ManagerOf(RequirementParty::Requester), Requirement::Group { group: dba, quorum: 2 }]
    );
    let oncall = Requirement::Group { group: Group::new("oncall").unwrap(), quorum: 1 };
    assert_eq!(plan.stages[1].people, [Requirement::Any(vec![Requirement::Person(name("frank")), oncall])]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let Ruling::Planned(plan) = Ask::new("alice", "orders-dev", "orders_read").ruling(&document(SAMPLE)) else {
        panic!("denied");
    };
    assert!(plan.stages.is_empty());
    assert_eq!(plan.limits.max_total, TimeDelta::hours(4));
    assert_eq!(plan.limits.decide_by, TimeDelta::minutes(30));
    assert_eq!(plan.limits.start_within, TimeDelta::zero());
    assert_eq!(plan.handling.prepared, Prepared::Report);
    assert_eq!(plan.handling.account_members, Stance::Refused);
}

#[test]
fn the_hash_is_that_of_the_files_bytes() {
    // printf 'version = 1\n' | sha256sum
    assert_eq!(document("version = 1\n").hash(), "dbab12665d98aef021ba64953c61b0ed8a908cfb56a1c01e2fcb4b052b71a2a1");
}

#[test]
fn policy_names_groups_and_requestable_roles() {
    let policy = document(SAMPLE);
    let groups: Vec<String> = policy.groups().iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["dba", "oncall", "payments", "security"]);
    let roles = |target: &str| -> Vec<String> {
        let target = TargetName::new(target).unwrap();
        policy.requestable(&target).iter().map(ToString::to_string).collect()
    };
    assert_eq!(roles("orders-prod"), ["orders_read", "orders_write"]);
    assert_eq!(roles("orders-dev"), ["orders_read"]);
    assert!(roles("other").is_empty());
}

#[test]
fn policy_says_on_which_targets_roles_have_to_be_usable_at_once() {
    let rule = |target: &str, more: &str| {
        format!(
            "[[rule]]\nname = \"{target}\"\ntargets = [\"{target}\"]\nroles = [\"r\"]\nrequesters = [\"*\"]\nmax = \"1h\"\n{more}\n"
        )
    };
    let rules = [rule("at-once", ""), rule("by-session", "activation = \"session\"")].concat();
    let policy = document(&format!("version = 1\n{rules}"));
    let activates = |target: &str| policy.activates(&TargetName::new(target).unwrap());
    assert!(activates("at-once"));
    assert!(!activates("by-session"));
    assert!(!activates("other"));
}

#[test]
fn what_no_rule_allows_is_denied() {
    let policy = document(SAMPLE);
    assert_eq!(
        Ask::new("bob", "orders-prod", "orders_read").denied(&policy),
        "no rule lets `bob` ask for role `orders_read` on target `orders-prod`: what no rule allows is denied"
    );
    assert_eq!(Ask::new("alice", "billing", "orders_read").rule(&policy), None);
    assert_eq!(Ask::new("alice", "orders-prod", "postgres").rule(&policy), None);
    let nothing = document("version = 1\n");
    assert_eq!(Ask::new("alice", "t", "x").rule(&nothing), None);
}

#[test]
fn limits_deny_and_say_what_would_be_accepted() {
    let policy = document(SAMPLE);
    let ask = || Ask::new("alice", "orders-prod", "orders_write");
    let cases: [(Ask, &str); 10] = [
        (Ask { duration: TimeDelta::hours(2), ..ask() }, "`2h` is too long: ask for at most `1h`"),
        (Ask { duration: TimeDelta::zero(), ..ask() }, "the duration has to be longer than zero: ask for up to `1h`"),
        (
            Ask { duration: TimeDelta::seconds(-5), ..ask() },
            "the duration has to be longer than zero: ask for up to `1h`",
        ),
        (Ask { reason: "  short é  ", ..ask() }, "the reason is too short (7 characters): give one of at least 10"),
        (Ask { ticket: None, ..ask() }, "a ticket is missing: give one that matches `[A-Z]+-[0-9]+`"),
        (
            Ask { ticket: Some("see OPS-12"), ..ask() },
            "ticket `see OPS-12` is not accepted: give one that matches `[A-Z]+-[0-9]+`",
        ),
        (
            Ask { ticket: Some("OPS-12\n"), ..ask() },
            "ticket `OPS-12\\n` is not accepted: give one that matches `[A-Z]+-[0-9]+`",
        ),
        (
            Ask { start: Some(asked_at() - TimeDelta::seconds(1)), ..ask() },
            "the start lies in the past: ask for a later one, or without one",
        ),
        (
            Ask { start: Some(asked_at() + TimeDelta::hours(25)), ..ask() },
            "the start lies too far ahead: ask for one within `24h` from now",
        ),
        (
            Ask { start: Some(asked_at()), ..Ask::new("alice", "orders-dev", "orders_read") },
            "a scheduled start is not accepted here: ask without one when you need the role",
        ),
    ];
    for (ask, expected) in cases {
        assert_eq!(ask.denied(&policy), expected);
        assert!(ask.rule(&policy).is_some(), "{expected}");
    }
    let exact = Ask { duration: TimeDelta::hours(1), start: Some(asked_at() + TimeDelta::hours(24)), ..ask() };
    assert!(matches!(exact.ruling(&policy), Ruling::Planned(_)));
    let all = Ask { duration: TimeDelta::hours(9), reason: "", ticket: None, ..ask() };
    assert_eq!(
        all.denied(&policy),
        "`9h` is too long: ask for at most `1h`; the reason is too short (0 characters): give one of at least 10; \
         a ticket is missing: give one that matches `[A-Z]+-[0-9]+`"
    );
}

#[test]
fn a_ticket_pattern_has_to_match_the_whole_ticket_also_with_alternatives() {
    let policy = document(&with_rule("ticket = { pattern = \"a|ab\" }"));
    let ask = |ticket| Ask { ticket: Some(ticket), ..Ask::new("alice", "t", "x") };
    assert!(matches!(ask("ab").ruling(&policy), Ruling::Planned(_)));
    assert!(matches!(ask("a").ruling(&policy), Ruling::Planned(_)));
    assert!(matches!(ask("abc").ruling(&policy), Ruling::Denied { .. }));
    assert!(refused(&with_rule("ticket = { pattern = \"a)|(b\" }")).contains(":10:22: `a)|(b` is not a regular"));
    assert!(refused(&with_rule("ticket = { pattern = \".*\" }")).contains("accepts an empty ticket"));
}

#[test]
fn the_first_match_decides_even_when_a_later_rule_would_allow_more() {
    let rule = |name: &str, who: &str, max: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\ntargets = [\"t*\"]\nroles = [\"x\"]\nrequesters = [{who}]\nmax = \"{max}\"\n"
        )
    };
    let text = format!("{HEAD}{}{}", rule("first", "\"group:dba\"", "10m"), rule("second", "\"*\"", "4h"));
    let policy = document(&text);
    assert_eq!(Ask::new("bob", "t1", "x").rule(&policy).as_deref(), Some("first"));
    assert_eq!(Ask::new("bob", "t1", "x").denied(&policy), "`30m` is too long: ask for at most `10m`");
    assert_eq!(Ask::new("alice", "t1", "x").rule(&policy).as_deref(), Some("second"));
    let said = Ask::new("bob", "t1", "x").with(&policy, |question| policy.explain(question));
    let said: Vec<(bool, &str)> = said.iter().map(|rule| (rule.decided, rule.why.as_str())).collect();
    assert_eq!(said, [(true, "denied: `30m` is too long: ask for at most `10m`"), (false, "a rule above it decided")]);
}

#[test]
fn explain_says_of_every_rule_why() {
    let policy = document(SAMPLE);
    let said = Ask::new("alice", "orders-prod", "orders_write").with(&policy, |question| policy.explain(question));
    let said: Vec<(bool, &str)> = said.iter().map(|rule| (rule.decided, rule.why.as_str())).collect();
    assert_eq!(
        said,
        [
            (false, "role `orders_write` is not among `orders_read`"),
            (
                true,
                "stage 1: the manager of the requester and 2 of group `dba`; stage 2: any of (`frank`, one of group `oncall`); \
                 at most `1h`"
            ),
        ]
    );
}

#[test]
fn the_receiver_has_to_match_too() {
    let policy = document(SAMPLE);
    let ask = |grantee| Ask { grantee, ..Ask::new("alice", "orders-dev", "orders_read") };
    assert_eq!(ask("dave").rule(&policy).as_deref(), Some("read orders"));
    assert_eq!(ask("mallory").rule(&policy), None);
    let desk = document(&with_rule("grantees = [\"group:dba\"]"));
    let ask = |grantee| Ask { grantee, ..Ask::new("alice", "t", "x") };
    assert_eq!(ask("bob").rule(&desk).as_deref(), Some("r"));
    assert_eq!(ask("alice").rule(&desk), None, "who may ask for others may not ask for themselves");
}

#[test]
fn an_alias_has_its_own_groups_and_its_humans_manager() {
    let text = "version = 1\n[groups]\ndba = [\"erin\"]\nroot = [\"erin-admin\"]\n[people]\nerin = [\"erin-admin\"]\n\
                [managers]\nerin = \"bob\"\n[[rule]]\nname = \"r\"\ntargets = [\"t\"]\nroles = [\"x\"]\n\
                requesters = [\"group:dba\"]\nmax = \"1h\"\n";
    let policy = document(text);
    assert_eq!(Ask::new("erin", "t", "x").rule(&policy).as_deref(), Some("r"));
    assert_eq!(Ask::new("erin-admin", "t", "x").rule(&policy), None);
    let asked: BTreeSet<Group> = ["dba", "root"].map(|group| Group::new(group).unwrap()).into();
    let admin = policy.people().look_up(&name("erin-admin"), &asked);
    assert_eq!(admin.human, name("erin"));
    assert_eq!(admin.manager, Some(name("bob")));
    assert_eq!(admin.groups, [Group::new("root").unwrap()].into());
}

#[tokio::test]
async fn the_directory_answers_for_everybody() {
    let policy = document(SAMPLE);
    let directory = policy.directory().unwrap();
    let payments = Group::new("payments").unwrap();
    let alice = directory.person(&name("alice"), &[payments.clone()].into()).await.unwrap();
    assert_eq!((alice.manager, alice.groups), (Some(name("bob")), [payments.clone()].into()));
    let stranger = directory.person(&name("mallory"), &policy.groups()).await.unwrap();
    assert_eq!((stranger.human, stranger.groups.len()), (name("mallory"), 0));
    let prod = TargetName::new("orders-prod").unwrap();
    assert_eq!(directory.account(&name("alice"), &prod).await.unwrap().as_deref(), Some("alice_app"));
    assert_eq!(directory.account(&name("dave"), &prod).await.unwrap(), None);
    assert_eq!(directory.members(&payments).await.unwrap(), [name("alice"), name("dave")].into());
    assert!(directory.members(&Group::new("nobody").unwrap()).await.is_err());
}

#[test]
fn law_16_what_no_may_allows_is_denied() {
    let policy = document(SAMPLE);
    let person = |who: &str| policy.people().look_up(&name(who), &policy.groups());
    let orders = TargetName::new("orders-prod").unwrap();
    let billing = TargetName::new("billing").unwrap();
    for action in Action::ALL {
        assert!(policy.may(action, &person("frank"), Some(&billing)));
        assert!(policy.may(action, &person("frank"), None));
        assert!(!policy.may(action, &person("alice"), Some(&orders)));
    }
    assert!(policy.may(Action::Revoke, &person("grace"), Some(&orders)));
    assert!(!policy.may(Action::Revoke, &person("grace"), Some(&billing)));
    assert!(!policy.may(Action::Stop, &person("grace"), Some(&orders)));
    assert!(!policy.may(Action::Audit, &person("grace"), None), "what is about no target needs `*`");
}

#[test]
fn every_problem_is_found_at_once_with_line_and_column() {
    let text = r#"version = 2
[groups]
dba = ["bob", "bob"]
[[rule]]
name = "a"
targets = []
roles = ["orders_*"]
requesters = ["group:dab"]
max = "25h"
max_totl = "1h"
notify = ["slack:dba"]
set_role = "allowed"
sessions = "keep"
[[rule]]
max = 5
ticket = { pattern = "[A-", check = "jira" }
roles = "x"
"#;
    let text = text.replace("dba = [\"bob\", \"bob\"]", "dba = [\"bob\", \"carol\"]");
    assert_eq!(
        refused(&text),
        "\
policy.toml:1:11: this version reads policy of `version = 1` only
policy.toml:6:11: `targets` is empty, so this could never match: name some, like `targets = [\"orders-*\"]`
policy.toml:7:10: `orders_*` is a pattern, and roles are named exactly: reconciliation has to know each of them
policy.toml:8:15: there is no group `dab`: add it to `[groups]`
policy.toml:9:7: `25h` is over the ceiling: `max` can be at most `24h`
policy.toml:10:1: unknown key `max_totl` in `[[rule]]`: did you mean `max_total`?
policy.toml:12:12: `set_role = \"allowed\"` needs `sessions = \"end\"`: a session that ran SET ROLE keeps the role
policy.toml:14:1: `[[rule]]` has no `name`: add one, like `name = \"read orders\"`
policy.toml:14:1: `[[rule]]` has no `requesters`: add one, like `requesters = [\"group:payments\"]`
policy.toml:14:1: `[[rule]]` has no `targets`: add one, like `targets = [\"orders-*\"]`
policy.toml:15:7: `max` has to be a text in quotes, and this is a number
policy.toml:16:22: `[A-` is not a regular expression that is understood here: non-empty character class has no closing bracket after dash
policy.toml:17:9: `roles` has to be a list in brackets, and this is a text"
    );
}

#[test]
fn each_problem_says_what_to_do() {
    let rule = |more: &str| with_rule(more);
    let head = |more: &str| format!("version = 1\n{more}");
    let cases: Vec<(String, &str)> = vec![
        (
            rule("can_grant = \"accepted\"\nleftovers = \"off\""),
            "11:13: `can_grant = \"accepted\"` needs `leftovers = \"report\"`: such a role can make what outlives it",
        ),
        (String::new(), "1:1: `the document` has no `version`: add one, like `version = 1`"),
        ("version = 1\nrules = 3".to_owned(), "2:1: unknown key `rules` in `the document`: did you mean `rule`?"),
        (head("[rule]\nname = \"x\""), "2:1: there can be many of `rule`: write `[[rule]]`"),
        (
            head("[groups]\ndba = [\"group:x\"]"),
            "3:8: `group:x` is not the name of a person: only names can stand here, one by one",
        ),
        (head("[groups]\ndba = [\"bob\", \"bob\"]"), "3:15: `bob` stands twice in `dba`: remove one"),
        (head("[groups]\ndba = [\"\"]"), "3:8: `` is not a valid principal: it is empty"),
        (head("[people]\nerin = [\"erin\"]"), "3:9: `erin` is an alias of itself: remove it"),
        (
            head("[people]\na = [\"b\"]\nb = [\"c\"]"),
            "3:6: `b` is a human of `[people]` and cannot be an alias of `a` too: keep one of them",
        ),
        (
            head("[people]\na = [\"x\"]\nb = [\"x\"]"),
            "4:6: `x` is an alias of `a` already: a name belongs to one human",
        ),
        (head("[managers]\na = \"a\""), "3:1: `a` is their own manager: name somebody else"),
        (
            head("[managers]\na = \"b\"\nb = \"c\"\nc = \"a\""),
            "3:1: managers go round in a loop (`a`, `b`, `c`): somebody has to have none",
        ),
        (head("[people]\na = [\"a2\"]\n[managers]\na = \"a2\""), "5:1: `a` is their own manager: name somebody else"),
        (
            head("[accounts.\"orders-*\"]\na = \"b\""),
            "2:11: `accounts.orders-*` has to name one target exactly: patterns stand in rules",
        ),
        (
            head("[[may]]\ndo = [\"revok\"]\nwho = [\"*\"]\ntargets = [\"*\"]"),
            "3:7: `revok` is not an action: did you mean `revoke`?",
        ),
        (
            head("[[may]]\ndo = [\"revoke\"]\nwho = [\"*\"]"),
            "2:1: `[[may]]` has no `targets`: add one, like `targets = [\"orders-*\"]`",
        ),
        (
            rule("max_total = \"30m\""),
            "10:13: `max_total` (`30m`) is shorter than `max` (`1h`): make it at least as long",
        ),
        (rule("decide_by = \"soon\""), "10:13: `soon` is not a length of time: write it like `30m`, `4h` or `1h 30m`"),
        (rule("decide_by = \"0s\""), "10:13: `decide_by` has to be longer than zero, like `30m`"),
        (rule("reason = { min_length = 0 }"), "10:25: `min_length` has to be a whole number from 1 to 1000"),
        (rule("reason = {}"), "10:10: `reason` has no `min_length`: add one, like `min_length = 10`"),
        (rule("sessions = \"kill\""), "10:12: `sessions` cannot be `kill`: it is one of `end`, `keep`"),
        (rule("can_grant = true"), "10:13: `can_grant` has to be a text in quotes, and this is true or false"),
        (
            rule("[[rule.stage]]\npeople = []"),
            "11:10: `people` is empty: name some, like `people = [{ group = \"dba\", quorum = 2 }]`",
        ),
        (
            rule("[[rule.stage]]\nmfa = { of = \"requester\" }\npeople = [{ person = \"bob\" }]"),
            "11:7: `mfa` has no `within`: add one, like `within = \"5m\"`",
        ),
        (rule("[[rule.stage]]\npeople = [{ group = \"db\" }]"), "11:21: there is no group `db`: add it to `[groups]`"),
        (
            rule("[[rule.stage]]\npeople = [{ group = \"dbaa\" }]"),
            "11:21: there is no group `dbaa`: did you mean `dba`?",
        ),
        (
            rule("[[rule.stage]]\npeople = [{ group = \"dba\", quorum = 0 }]"),
            "11:37: `quorum` has to be a whole number from 1 to 1000",
        ),
        (
            rule("[[rule.stage]]\npeople = [{ person = \"bob\", quorum = 1 }]"),
            "11:38: `quorum` goes with `group` only: remove it",
        ),
        (
            rule("[[rule.stage]]\npeople = [{ person = \"bob\", group = \"dba\" }]"),
            "11:11: each of `people` says exactly one of `group`, `manager_of`, `person`, `any`",
        ),
        (
            rule("[[rule.stage]]\npeople = [{ manager_of = \"alice\" }]"),
            "11:26: `manager_of` cannot be `alice`: it is one of `requester`, `grantee`, `receiver`",
        ),
        (
            rule("[[rule.stage]]\npeople = [\"group:dba\"]"),
            "11:11: this has to be a table: `{ group = \"dba\", quorum = 2 }`, `{ manager_of = \"requester\" }`, `{ person = \"frank\" }` or `{ any = [...] }`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(&text), format!("policy.toml:{expected}"), "\n{text}");
    }
}

#[test]
fn targets_that_are_not_configured_are_named_with_their_rules() {
    let rule = with_rule("").replace("targets = [\"t\"]", "targets = [\"orders-*\", \"billing\"]");
    let policy = document(&format!(
        "{rule}[[may]]\ndo = [\"audit\"]\nwho = [\"bob\"]\ntargets = [\"*\"]\n\
         [[may]]\ndo = [\"revoke\"]\nwho = [\"bob\"]\ntargets = [\"order\"]\n"
    ));
    let configured = |names: &[&str]| names.iter().map(|name| TargetName::new(*name).unwrap()).collect();
    let told = policy.unmatched(&configured(&["orders-prod"]));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("rule `r` names `billing`, which no configured target matches"), "{told:?}");
    assert!(told[1].starts_with("`[[may]]` number 2 names `order`, "), "{told:?}");
    assert!(policy.unmatched(&configured(&["orders-prod", "billing", "order"])).is_empty());
}

#[test]
fn an_unknown_prefix_is_refused_with_its_place_and_the_known_ones() {
    let stage = |people: &str| with_rule(&format!("[[rule.stage]]\npeople = [{people}]"));
    let list = "known are `group:NAME`, `NAME` and `*`";
    let may = |who: &str| format!("{HEAD}[[may]]\ndo = [\"audit\"]\nwho = [\"{who}\"]\ntargets = [\"*\"]\n");
    let elsewhere = |more: &str| {
        let text = stage(more);
        let lines = text.lines().skip_while(|line| *line != "[[rule]]").collect::<Vec<_>>().join("\n");
        format!("version = 1\ndirectory = \"elsewhere\"\n{lines}")
    };
    for (text, place, prefix, says) in [
        (may("groups:dba"), "6:8", "groups:", list),
        (may("person:frank"), "6:8", "person:", list),
        (may(":frank"), "6:8", ":", list),
        (may("group :dba"), "6:8", "group :", list),
        (stage("{ person = \"person:bob\" }"), "11:22", "person:", "by name alone"),
        (stage("{ group = \"groups:dba\" }"), "11:21", "groups:", "known are `group:NAME` and `NAME`"),
        (elsewhere("{ group = \"groups:dba\" }"), "10:21", "groups:", "known are `group:NAME` and `NAME`"),
        (format!("{HEAD}[people]\nbob = [\"person:rob\"]\n"), "5:8", "person:", "by name alone"),
    ] {
        let refused = refused(&text);
        let unknown = format!("begins with an unknown prefix, `{prefix}`: ");
        assert!(refused.starts_with(&format!("policy.toml:{place}: ")), "{refused}\n{text}");
        assert!(refused.contains(&unknown) && refused.contains(says), "{refused}");
    }
    // names of other systems are valid names
    for name in ["system:serviceaccount:ci:bot", "spiffe://prod/bot"] {
        assert!(document(&may(name)).check().is_empty(), "{name}");
    }
    assert!(PolicyDocument::parse(&elsewhere("{ group = \"group:okta:dba\" }"), "policy.toml").is_ok());
}

#[test]
fn broken_toml_is_placed_too_and_columns_are_characters() {
    assert!(refused("version = 1\n[groups\n").starts_with("policy.toml:2:"));
    assert!(refused("version = 1\nversion = 1\n").starts_with("policy.toml:2:1: this is not valid TOML: "));
    let text = format!("{HEAD}[[may]]\r\ndo = [\"audit\"]\r\nwho = [\"zoë\", \"group:x\"]\r\ntargets = [\"*\"]\r\n");
    assert_eq!(refused(&text), "policy.toml:6:15: there is no group `x`: add it to `[groups]`");
}

#[test]
fn two_rules_of_one_name_are_refused() {
    let rule = |role: &str| {
        format!(
            "[[rule]]\nname = \"r\"\ntargets = [\"t\"]\nroles = [\"{role}\"]\nrequesters = [\"alice\"]\nmax = \"1h\"\n"
        )
    };
    assert_eq!(
        refused(&format!("{HEAD}{}{}", rule("x"), rule("y"))),
        "policy.toml:10:1: two rules are named `r` (the other begins in line 4): rename one"
    );
}

#[test]
fn a_stage_that_nobody_could_ever_meet_is_refused() {
    let stage = |people: &str| with_rule(&format!("[[rule.stage]]\npeople = [{people}]"));
    let nobody = |people: &str, needed: &str| {
        assert_eq!(
            refused(&stage(people)),
            format!(
                "policy.toml:10:1: nobody could ever be approved under rule `r`: there are not enough distinct people other than the \
                 requester for {needed} with the groups and managers of this document; add people or ask for fewer"
            )
        );
    };
    nobody("{ group = \"dba\", quorum = 3 }", "3 of group `dba`");
    nobody("{ group = \"dba\", quorum = 2 }, { person = \"bob\" }", "2 of group `dba` and `bob`");
    nobody("{ manager_of = \"requester\" }", "the manager of the requester");
    nobody("{ person = \"alice\" }", "`alice`");
    assert!(document(&stage("{ group = \"dba\", quorum = 2 }")).check().is_empty());
    let two =
        "[[rule.stage]]\npeople = [{ group = \"dba\" }]\n[[rule.stage]]\npeople = [{ group = \"dba\", quorum = 2 }]";
    assert!(
        refused(&with_rule(two)).starts_with("policy.toml:12:1: nobody could ever be approved"),
        "one human counts once a plan"
    );
    let any = "{ any = [{ group = \"dba\" }, { person = \"bob\" }] }, ".repeat(11);
    assert_eq!(
        refused(&stage(&any)),
        "policy.toml:10:1: the stages of rule `r`: its requirements can be met in more than 1,024 ways: use fewer `any` lists or \
         smaller quorums"
    );
}

#[test]
fn a_stage_that_aliases_only_seem_to_meet_is_refused() {
    let text = with_rule("[[rule.stage]]\npeople = [{ group = \"dba\", quorum = 2 }]");
    assert!(refused(&text.replace("[groups]", "[people]\nbob = [\"carol\"]\n[groups]")).contains("nobody could ever"));
    assert!(refused(&text.replace("[groups]", "[people]\nbob = [\"alice\"]\n[groups]")).contains("nobody could ever"));
}

#[test]
fn a_stage_that_only_some_can_meet_is_a_warning_that_names_the_others() {
    let text = with_rule("[[rule.stage]]\npeople = [{ group = \"dba\", quorum = 2 }]")
        .replace("requesters = [\"alice\"]", "requesters = [\"alice\", \"group:dba\"]");
    let [warning] = document(&text).check().try_into().unwrap();
    assert_eq!(
        warning.to_string(),
        "4:1: the stages of rule `r` cannot be met when `bob` or `carol` asks: add people who can decide"
    );
    let text = with_rule("[[rule.stage]]\npeople = [{ manager_of = \"requester\" }]")
        .replace("[\"alice\"]", "[\"*\"]")
        .replace("[groups]", "[managers]\nbob = \"carol\"\n[groups]");
    let [warning] = document(&text).check().try_into().unwrap();
    assert_eq!(
        warning.message,
        "the stages of rule `r` cannot be met when `carol` or somebody whom the document does not name asks: add people who can \
         decide"
    );
}

#[test]
fn a_rule_that_can_never_match_is_a_warning() {
    let rule = |name: &str, targets: &str, roles: &str, who: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\ntargets = [{targets}]\nroles = [{roles}]\nrequesters = [{who}]\nmax = \"1h\"\n"
        )
    };
    let first = rule("first", r#""orders-*""#, r#""x", "y""#, r#""group:dba""#);
    let warned = |second: String| document(&format!("{HEAD}{first}{second}")).check();
    let [warning] = warned(rule("second", r#""orders-prod""#, r#""x""#, r#""bob""#)).try_into().unwrap();
    assert_eq!(
        warning.to_string(),
        "10:1: rule `second` can never match: rule `first` above it (line 4) decides first; move it up or remove it"
    );
    assert_eq!(warning.rule, Some(RuleName::new("second").unwrap()));
    assert!(warned(rule("second", r#""orders-*", "b""#, r#""x""#, r#""bob""#)).is_empty());
    assert!(warned(rule("second", r#""orders-*""#, r#""x", "z""#, r#""bob""#)).is_empty());
    assert!(warned(rule("second", r#""orders-*""#, r#""x""#, r#""bob", "dave""#)).is_empty());
    assert!(warned(rule("second", r#""*""#, r#""x""#, r#""bob""#)).is_empty());
    let empty = format!("version = 1\n[groups]\nnone = []\n{}", rule("r", r#""t""#, r#""x""#, r#""group:none""#));
    let [warning] = document(&empty).check().try_into().unwrap();
    assert_eq!(warning.message, "rule `r` can never match: the groups that it names have no members");
}

#[test]
fn a_person_named_like_a_group_and_a_shared_account_are_warnings() {
    let [warning] = document(&with_rule("").replace("\"alice\"", "\"dba\"")).check().try_into().unwrap();
    assert_eq!(
        warning.to_string(),
        "8:15: `dba` is a person here and a group in `[groups]`: did you mean `group:dba`?"
    );
    let shared = format!("{HEAD}[accounts.t]\nalice = \"app\"\nbob = \"app\"\n");
    let [warning] = document(&shared).check().try_into().unwrap();
    assert_eq!(
        warning.to_string(),
        "6:1: `bob` and `alice` share the account `app`: a role given to one is had by both"
    );
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let error = PolicyDocument::load("/nonexistent/policy.toml").unwrap_err();
    assert!(error.to_string().starts_with("policy `/nonexistent/policy.toml` cannot be read: "), "{error}");
    assert!(error.problems().is_empty());
}

/// Generates rules: the roles, targets and requesters of each, out of a few.
fn some_rules() -> impl Strategy<Value = Vec<(Vec<usize>, Vec<usize>, Vec<usize>)>> {
    let some = |of: usize| proptest::collection::btree_set(0..of, 1..3).prop_map(|set| set.into_iter().collect());
    proptest::collection::vec((some(4), some(7), some(6)), 0..24)
}

const TARGETS: [&str; 7] = ["*", "orders-*", "orders-prod", "orders-dev", "*-prod", "billing", "b*"];
const WHO: [&str; 6] = ["*", "group:dba", "group:dev", "bob", "alice", "mallory"];

proptest! {
    #[test]
    fn the_index_finds_what_asking_every_rule_finds(rules in some_rules()) {
        let mut text = "version = 1\n[groups]\ndba = [\"bob\"]\ndev = [\"alice\", \"bob\"]\n".to_owned();
        for (number, (roles, targets, who)) in rules.iter().enumerate() {
            let targets: Vec<&str> = targets.iter().map(|target| TARGETS[*target]).collect();
            let roles: Vec<String> = roles.iter().map(|role| format!("r{role}")).collect();
            let who: Vec<&str> = who.iter().map(|who| WHO[*who]).collect();
            writeln!(
                text,
                "[[rule]]\nname = \"{number}\"\ntargets = {targets:?}\nroles = {roles:?}\nrequesters = {who:?}\nmax = \"1h\""
            ).unwrap();
        }
        let policy = document(&text);
        for target in ["orders-prod", "orders-dev", "billing", "other"] {
            for role in ["r0", "r1", "r2", "r3", "r9"] {
                for who in ["alice", "bob", "mallory", "dave"] {
                    let ask = Ask::new(who, target, role);
                    let linear = ask.with(&policy, |question| {
                        policy.rules.iter().find(|rule| rule.mismatch(question).is_none()).map(|rule| rule.name().to_string())
                    });
                    prop_assert_eq!(ask.rule(&policy), linear.clone());
                    let explained = ask.with(&policy, |question| policy.explain(question));
                    let decided = explained.iter().find(|rule| rule.decided).map(|rule| rule.rule.to_string());
                    prop_assert_eq!(decided, linear);
                    // a rule that was warned about never decides
                    let warned = policy.check().iter().any(|warning| warning.rule.as_ref().map(ToString::to_string) == ask.rule(&policy) && warning.rule.is_some());
                    prop_assert!(!warned);
                }
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = PolicyDocument::parse(&text, "x");
    }

    #[test]
    fn no_damage_to_a_document_makes_it_panic(cut in 0..SAMPLE.len(), length in 0..40_usize, put in "[\\[\\]{}=\"'\n.,#a-z0-9 é]{0,6}") {
        let end = (cut + length).min(SAMPLE.len());
        let text = format!("{}{put}{}", &SAMPLE[..cut], &SAMPLE[end..]);
        if let Err(error) = PolicyDocument::parse(&text, "x") {
            let lines = text.split('\n').count();
            for problem in error.problems() {
                prop_assert!(problem.line >= 1 && problem.line <= lines && problem.column >= 1);
            }
        }
    }
}
