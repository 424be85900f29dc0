//! Tests of further demands of a rule: second factors, outside systems, escalation and emergencies.

use super::*;
use crate::id::{ApproverName, NotifierName};
use crate::model::approval::{Mfa, MfaOf, Outside, Plan, Stage};

/// A document with everything that a rule can demand.
const WHOLE: &str = r#"version = 1
[groups]
payments = ["alice", "dave"]
dba      = ["bob", "carol", "erin"]
security = ["frank"]
oncall   = ["grace"]
[managers]
alice = "bob"
[[rule]]
name       = "change orders"
targets    = ["orders-prod"]
roles      = ["orders_write"]
requesters = ["group:payments"]
max        = "1h"
max_total  = "4h"
reason     = { min_length = 10 }
ticket     = { pattern = "[A-Z]+-[0-9]+", check = "jira" }
notify     = ["slack:dba"]
break_glass = { by = ["group:dba"], max = "15m", review_by = ["group:security"], within = "24h", mfa = { within = "5m" } }
[[rule.stage]]
mfa     = { of = "requester", within = "5m" }
[[rule.stage]]
people  = [{ manager_of = "requester" }, { group = "dba", quorum = 2 }]
escalate = { after = "10m", to = "group:oncall" }
mfa     = { of = "approver", within = "5m", factor = "totp" }
[[rule.stage]]
approvers = ["change-board"]
"#;

fn planned(policy: &PolicyDocument, question: &Question<'_>) -> Plan {
    match policy.rule(question) {
        Ruling::Planned(plan) => plan,
        Ruling::Denied { reason, .. } => panic!("denied: {reason}"),
    }
}

#[test]
fn everything_that_a_rule_demands_is_in_its_plan() {
    let policy = document(&WHOLE.replace("alice = \"bob\"", "alice = \"bob\"\ndave = \"frank\""));
    let ask = Ask::new("alice", "orders-prod", "orders_write");
    let plan = ask.with(&policy, |question| planned(&policy, question));
    assert_eq!(plan.notify, [NotifierName::new("slack:dba").unwrap()].into());
    let [ticket, confirmation, people, board] = plan.stages.as_slice() else { panic!("{:?}", plan.stages) };
    let asks = |name: &str, again| vec![Outside { approver: ApproverName::new(name).unwrap(), again }];
    assert_eq!(
        ticket,
        &Stage { outside: asks("jira", true), ..Stage::default() },
        "a ticket is looked at before people are asked"
    );
    let five = TimeDelta::minutes(5);
    assert_eq!(confirmation.mfa, Some(Mfa { of: MfaOf::Requester, within: five, factor: None }));
    assert_eq!(people.people.len(), 2);
    assert_eq!(people.mfa.as_ref().map(|mfa| (mfa.of, mfa.factor.is_some())), Some((MfaOf::Approver, true)));
    assert_eq!(people.escalate.as_ref().map(|escalate| escalate.after), Some(TimeDelta::minutes(10)));
    assert_eq!(board.outside, asks("change-board", false));
    assert_eq!(plan.break_glass, None);
    let mentions = policy.mentions();
    assert_eq!(mentions.approvers.len(), 2);
    assert!(mentions.any_factor && mentions.factors.len() == 1 && mentions.notifiers.len() == 1);
    assert!(policy.groups().contains(&Group::new("oncall").unwrap()));
}

#[test]
fn an_emergency_takes_the_reason_and_the_own_factor_and_owes_a_review() {
    let policy = document(WHOLE);
    let asked = |who: &'static str, grantee: &'static str, owes| {
        let ask = Ask {
            ticket: None,
            grantee,
            duration: TimeDelta::minutes(10),
            ..Ask::new(who, "orders-prod", "orders_write")
        };
        ask.with(&policy, |question| {
            policy.rule(&Question { break_glass: true, owes_review: owes, ..question.clone() })
        })
    };
    let Ruling::Planned(plan) = asked("carol", "carol", false) else { panic!("denied") };
    assert_eq!(plan.stages.len(), 1);
    assert_eq!(plan.limits.max, TimeDelta::minutes(15));
    assert_eq!(plan.limits.max_total, TimeDelta::minutes(15));
    let owed = plan.break_glass.unwrap();
    assert_eq!((owed.human, owed.within), (name("carol"), TimeDelta::hours(24)));
    assert_eq!(owed.review_by.describe(), "any of (one of group `security`)");
    // a requester who still owes a review needs a second person
    let Ruling::Planned(plan) = asked("carol", "carol", true) else { panic!("denied") };
    assert_eq!(plan.stages.len(), 2);
    assert_eq!(plan.stages[1].people[0].describe(), "any of (one of group `dba`, one of group `security`)");
    for (who, grantee) in [("alice", "alice"), ("carol", "bob"), ("mallory", "mallory")] {
        assert!(matches!(asked(who, grantee, false), Ruling::Denied { rule: None, .. }), "{who} {grantee}");
    }
}

#[test]
fn an_emergency_is_short_now_and_has_a_reason() {
    let policy = document(WHOLE);
    let ask = Ask { duration: TimeDelta::minutes(16), reason: "", ..Ask::new("carol", "orders-prod", "orders_write") };
    let start = Some(asked_at());
    let ruling = ask.with(&policy, |question| policy.rule(&Question { break_glass: true, start, ..question.clone() }));
    let Ruling::Denied { reason, .. } = ruling else { panic!("planned") };
    assert_eq!(
        reason,
        "`16m` is too long: ask for at most `15m`; the reason is too short (0 characters): give one of at least 10; \
         an emergency has no scheduled start"
    );
}

#[test]
fn what_a_stage_cannot_mean_is_refused_with_its_place() {
    let stage = |lines: &str| with_rule(&format!("[[rule.stage]]\n{lines}"));
    for (text, says) in [
        (stage(""), "this stage asks for nothing"),
        (
            stage("escalate = { after = \"5m\", to = \"group:dba\" }\napprovers = [\"x\"]"),
            "10:1: `escalate` goes with `people` only",
        ),
        (stage("mfa = { of = \"approver\", within = \"5m\" }"), "`mfa` of the approver goes with `people` only"),
        (
            stage("mfa = { of = \"anybody\", within = \"5m\" }"),
            "`of` cannot be `anybody`: it is one of `requester`, `approver`",
        ),
        (stage("mfa = { of = \"requester\", within = \"25h\" }"), "over the ceiling: `within` can be at most `24h`"),
        (
            stage("people = [{ person = \"bob\" }]\nescalate = { after = \"5m\", to = \"group:dab\" }"),
            "there is no group `dab`",
        ),
        (stage("people = [{ person = \"bob\" }]\nescalate = { to = \"group:dba\" }"), "`escalate` has no `after`"),
        (stage("approvers = []"), "`approvers` is empty"),
        (with_rule("notify = []"), "`notify` is empty"),
        (
            with_rule("break_glass = { by = [\"*\"], max = \"5m\", review_by = [\"bob\"], within = \"1h\" }"),
            "`*` is everybody",
        ),
        (
            with_rule("break_glass = { by = [\"bob\"], max = \"5m\", within = \"1h\" }"),
            "`break_glass` has no `review_by`",
        ),
    ] {
        let refused = refused(&text);
        assert!(refused.contains(says), "{says}\n{refused}");
    }
}

#[test]
fn whom_a_stage_escalates_to_may_make_it_possible() {
    let text = |more: &str| {
        format!(
            "version = 1\n[groups]\ndba = [\"bob\"]\noncall = [\"grace\"]\n[[rule]]\nname = \"r\"\ntargets = [\"t\"]\nroles = [\"x\"]\n\
                 requesters = [\"bob\"]\nmax = \"1h\"\n[[rule.stage]]\npeople = [{{ group = \"dba\" }}]\n{more}"
        )
    };
    assert!(refused(&text("")).contains("nobody could ever be approved"));
    assert_eq!(document(&text("escalate = { after = \"5m\", to = \"group:oncall\" }")).check(), []);
}
