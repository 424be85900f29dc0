//! Tests of Cedar policies: what is accepted, refused and ruled.

mod equivalence;
mod refused;

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::clock::Time;
use crate::id::Principal;
use crate::model::approval::{MfaOf, Plan};

const DOCUMENT: &str = r#"version = 1
[groups]
payments = ["alice", "dave"]
dba = ["bob", "carol", "erin-admin"]
security = ["frank"]
[managers]
alice = "bob"
[people]
erin = ["erin-admin"]
[accounts.orders-prod]
alice = "alice_app"

[plan."two dbas"]
max = "2h"
max_total = "4h"
reason = { min_length = 5 }
ticket = { pattern = "[A-Z]+-[0-9]+", check = "jira" }
start_within = "24h"
notify = ["slack:dba"]
[[plan."two dbas".stage]]
people = [{ group = "dba", quorum = 2 }]

[plan."second factor"]
max = "1h"
decide_by = "10m"
notify = ["mail"]
[[plan."second factor".stage]]
mfa = { of = "requester", within = "5m" }
[[plan."second factor".stage]]
people = [{ group = "dba", quorum = 2 }]

[plan.kept]
max = "1h"
sessions = "keep"
"#;

const CHANGE: &str = r#"
@id("change orders")
@plan("two dbas")
@max("1h")
permit(principal in Jit::Group::"payments", action == Jit::Action::"request", resource == Jit::Role::"orders-prod/orders_write");
"#;

fn policy(more: &str) -> CedarPolicy {
    match CedarPolicy::parse(&format!("{CHANGE}{more}"), DOCUMENT, "test") {
        Ok(policy) => policy,
        Err(error) => panic!("{error}"),
    }
}

/// Writes a permit for alice's role of another name, with another plan, or other conditions.
fn permit(id: &str, plan: &str, conditions: &str) -> String {
    format!(
        "@id(\"{id}\") @plan(\"{plan}\") permit(principal, action == Jit::Action::\"request\", \
         resource == Jit::Role::\"orders-prod/orders_write\") {conditions};\n"
    )
}

fn asked_at() -> Time {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A question, changed by the test before it is asked.
#[derive(Debug, Clone)]
struct Ask {
    target: &'static str,
    role: &'static str,
    requester: &'static str,
    grantee: &'static str,
    duration: TimeDelta,
    reason: &'static str,
    ticket: Option<&'static str>,
    start: Option<Time>,
    break_glass: bool,
}

fn ask(requester: &'static str) -> Ask {
    Ask {
        target: "orders-prod",
        role: "orders_write",
        requester,
        grantee: requester,
        duration: TimeDelta::minutes(30),
        reason: "stuck orders",
        ticket: Some("OPS-12"),
        start: None,
        break_glass: false,
    }
}

impl Ask {
    fn with<T>(
        &self,
        people: &ListedDirectory,
        groups: &BTreeSet<Group>,
        answer: impl FnOnce(&Question<'_>) -> T,
    ) -> T {
        let person = |name| people.look_up(&Principal::new(name).unwrap(), groups);
        answer(&Question {
            target: &TargetName::new(self.target).unwrap(),
            role: &RoleName::new(self.role).unwrap(),
            requester: &person(self.requester),
            grantee: &person(self.grantee),
            duration: self.duration,
            reason: self.reason,
            ticket: self.ticket,
            start: self.start,
            asked_at: asked_at(),
            break_glass: self.break_glass,
            owes_review: false,
        })
    }

    fn ruling(&self, policy: &CedarPolicy) -> Ruling {
        self.with(policy.people(), &policy.groups(), |question| policy.rule(question))
    }

    fn planned(&self, policy: &CedarPolicy) -> Plan {
        match self.ruling(policy) {
            Ruling::Planned(plan) => plan,
            Ruling::Denied { reason, .. } => panic!("denied: {reason}"),
        }
    }

    fn denied(&self, policy: &CedarPolicy) -> String {
        match self.ruling(policy) {
            Ruling::Denied { reason, .. } => reason,
            Ruling::Planned(plan) => panic!("planned: {plan:?}"),
        }
    }

    fn explained(&self, policy: &CedarPolicy) -> Vec<(String, bool, String)> {
        let explained = self.with(policy.people(), &policy.groups(), |question| policy.explain(question));
        explained.into_iter().map(|one| (one.rule.to_string(), one.decided, one.why)).collect()
    }
}

#[test]
fn what_is_permitted_has_the_named_plan_narrowed_by_the_policys_own_max() {
    let policy = policy("");
    let plan = ask("alice").planned(&policy);
    assert_eq!((plan.rule.as_str(), plan.policy.clone()), ("change orders", policy.hash()));
    assert_eq!((plan.limits.max, plan.limits.max_total), (TimeDelta::hours(1), TimeDelta::hours(4)));
    let stages: Vec<String> = plan.stages.iter().map(crate::model::approval::Stage::describe).collect();
    assert_eq!(stages, ["the answer of `jira` (asked again before the grant)", "2 of group `dba`"]);
}

#[test]
fn what_no_policy_permits_is_denied() {
    let policy = policy("");
    let denied = ask("bob").denied(&policy);
    assert!(denied.starts_with("no rule lets `bob` ask for role `orders_write` on target `orders-prod`"), "{denied}");
    ask("alice").planned(&policy);
    for other in [Ask { role: "other", ..ask("alice") }, Ask { target: "other", ..ask("alice") }] {
        other.denied(&policy);
    }
}

#[test]
fn limits_deny_in_the_words_of_the_document() {
    let policy = policy("");
    let question = Ask { duration: TimeDelta::hours(2), reason: "x", ticket: None, ..ask("alice") };
    assert_eq!(
        question.denied(&policy),
        "`2h` is too long: ask for at most `1h`; the reason is too short (1 characters): give one of at least 5; \
         a ticket is missing: give one that matches `[A-Z]+-[0-9]+`"
    );
    let late = Ask { start: Some(asked_at() + TimeDelta::days(2)), ..ask("alice") };
    assert!(late.denied(&policy).contains("too far ahead"));
    Ask { start: Some(asked_at() + TimeDelta::hours(2)), ..ask("alice") }.planned(&policy);
}

#[test]
fn forbid_wins() {
    let policy = policy("@id(\"not dave\") forbid(principal == Jit::Principal::\"dave\", action, resource);");
    ask("alice").planned(&policy);
    assert_eq!(ask("dave").denied(&policy), "policy `not dave` forbids it");
    let Ruling::Denied { rule, .. } = ask("dave").ruling(&policy) else { panic!() };
    assert_eq!(rule.unwrap().as_str(), "not dave");
    let target = policy_of("forbid", "resource in Jit::Target::\"orders-prod\"", "");
    assert_eq!(ask("alice").denied(&target), "policy `more` forbids it");
    let all = policy_of("forbid", "resource in Jit::Tenant::\"all\"", "when { context.scheduled }");
    ask("alice").planned(&all);
    let scheduled = Ask { start: Some(asked_at() + TimeDelta::hours(1)), ..ask("alice") };
    assert_eq!(scheduled.denied(&all), "policy `more` forbids it");
}

fn policy_of(effect: &str, resource: &str, conditions: &str) -> CedarPolicy {
    policy(&format!("@id(\"more\") {effect}(principal, action == Jit::Action::\"request\", {resource}) {conditions};"))
}

#[test]
fn any_policy_that_errs_denies_whatever_the_others_say() {
    let overflow = "when { context.duration + 9223372036854775807 > 0 }";
    for policy in [
        policy(&permit("broken", "kept", overflow)),
        policy_of("forbid", "resource", overflow),
        policy_of("forbid", "resource in Jit::Target::\"orders-prod\"", overflow),
    ] {
        let denied = ask("alice").denied(&policy);
        assert!(denied.contains("overflow") && denied.ends_with("a policy with an error denies"), "{denied}");
        assert!(denied.contains("`broken`") || denied.contains("`more`"), "{denied}");
        assert!(ask("alice").explained(&policy).iter().any(|(_, decided, why)| *decided && why.contains("overflow")));
    }
    // outside of its scope the policy cannot fail
    ask("alice").planned(&policy_of("forbid", "resource == Jit::Role::\"orders-prod/other\"", overflow));
}

#[test]
fn several_permits_are_met_together_in_the_order_of_their_names() {
    let policy = policy(&permit("also", "second factor", "when { principal in Jit::Group::\"payments\" }"));
    let plan = ask("alice").planned(&policy);
    assert_eq!(plan.rule.as_str(), "also + change orders");
    let stages: Vec<String> = plan.stages.iter().map(crate::model::approval::Stage::describe).collect();
    assert_eq!(
        stages,
        ["a second factor of the requester", "2 of group `dba`", "the answer of `jira` (asked again before the grant)"]
    );
    assert_eq!((plan.limits.max, plan.limits.max_total), (TimeDelta::hours(1), TimeDelta::hours(1)));
    assert_eq!((plan.limits.decide_by, plan.limits.start_within), (TimeDelta::minutes(10), TimeDelta::zero()));
    assert_eq!(plan.notify.len(), 2);
    assert_eq!(plan.stages[0].mfa.as_ref().unwrap().of, MfaOf::Requester);
    let (no_ticket, long) =
        (Ask { ticket: None, ..ask("alice") }, Ask { duration: TimeDelta::hours(3), ..ask("alice") });
    assert!(no_ticket.denied(&policy).contains("a ticket is missing"));
    let Ruling::Denied { rule, reason, .. } = long.ruling(&policy) else { panic!() };
    assert_eq!(
        (rule.unwrap().as_str(), reason.as_str()),
        ("also + change orders", "`3h` is too long: ask for at most `1h`")
    );
    let decided: Vec<bool> = ask("alice").explained(&policy).into_iter().map(|(_, decided, _)| decided).collect();
    assert_eq!(decided, [true, true]);
}

#[test]
fn permits_whose_plans_handle_the_database_differently_are_denied() {
    let policy = policy(&permit("keep", "kept", ""));
    let denied = ask("alice").denied(&policy);
    assert_eq!(
        denied,
        "policy `change orders` (plan `two dbas`) and policy `keep` (plan `kept`) both permit it and differ in `sessions`: \
         they have to agree"
    );
    assert_eq!(ask("bob").planned(&policy).rule.as_str(), "keep");
}

#[test]
fn a_stage_that_a_plan_has_twice_is_met_twice() {
    let twice = DOCUMENT.replace(
        "[plan.kept]\nmax = \"1h\"\nsessions = \"keep\"\n",
        "[plan.twice]\nmax = \"1h\"\n[[plan.twice.stage]]\npeople = [{ group = \"dba\" }]\n[[plan.twice.stage]]\npeople = [{ group = \"dba\" }]\n\
         [plan.once]\nmax = \"1h\"\n[[plan.once.stage]]\npeople = [{ group = \"dba\" }]\n",
    );
    for (one, other) in [("once", "twice"), ("twice", "once")] {
        let text = format!("{}{}", permit("a", one, ""), permit("b", other, ""));
        let policy = CedarPolicy::parse(&text, &twice, "test").unwrap();
        assert_eq!(ask("alice").planned(&policy).stages.len(), 2);
    }
}

#[test]
fn who_gets_the_role_has_to_be_permitted_too_unless_the_policy_speaks_of_him() {
    let plain = policy("");
    Ask { grantee: "dave", ..ask("alice") }.planned(&plain);
    let other = Ask { grantee: "bob", ..ask("alice") };
    assert!(other.denied(&plain).contains("for `bob`"));
    assert!(other.explained(&plain)[0].2.contains("not to `bob`"));
    let spoken = policy(&permit(
        "for dbas",
        "two dbas",
        "when { principal in Jit::Group::\"payments\" && context.receiver in Jit::Group::\"dba\" }",
    ));
    assert_eq!(other.planned(&spoken).rule.as_str(), "for dbas");
    let forbid = policy("@id(\"not dave\") forbid(principal == Jit::Principal::\"dave\", action, resource);");
    assert_eq!(Ask { grantee: "dave", ..ask("alice") }.denied(&forbid), "policy `not dave` forbids it");
    let own = policy_of("forbid", "resource", "unless { context.receiver == principal }");
    assert_eq!(Ask { grantee: "dave", ..ask("alice") }.denied(&own), "policy `more` forbids it");
    ask("alice").planned(&own);
}

#[test]
fn conditions_see_human_ticket_reason_and_duration() {
    let policy = policy(&permit(
        "humans",
        "second factor",
        "when { principal.human == \"erin\" && context has ticket && context.ticket like \"OPS-*\" && \
         context.reason == \"stuck orders\" && context.duration <= 1800 && !context.break_glass }",
    ));
    ask("erin-admin").planned(&policy);
    Ask { ticket: None, ..ask("erin-admin") }.denied(&policy);
    Ask { reason: "other", ..ask("erin-admin") }.denied(&policy);
    // a second that has begun counts as a whole one
    Ask { duration: TimeDelta::milliseconds(1_800_001), ..ask("erin-admin") }.denied(&policy);
}

#[test]
fn an_emergency_is_denied() {
    let policy = policy("");
    let emergency = Ask { break_glass: true, ..ask("alice") };
    assert!(emergency.denied(&policy).contains("emergency"));
    assert!(emergency.explained(&policy).iter().all(|(_, decided, _)| !decided));
}

#[test]
fn law_16_what_no_policy_permits_nobody_may_do() {
    let policy = policy(
        r#"
        @id("security") permit(principal in Jit::Group::"security", action in [Jit::Action::"revoke", Jit::Action::"audit"], resource);
        @id("orders") permit(principal in Jit::Group::"dba", action == Jit::Action::"stop", resource == Jit::Target::"orders-prod");
        @id("all") permit(principal == Jit::Principal::"bob", action == Jit::Action::"resume", resource in Jit::Tenant::"all");
        @id("not frank") forbid(principal == Jit::Principal::"frank", action == Jit::Action::"revoke", resource == Jit::Target::"secret");
        "#,
    );
    let may = |who: &str, action, target: Option<&str>| {
        let who = policy.people().look_up(&Principal::new(who).unwrap(), &policy.groups());
        policy.may(action, &who, target.map(|target| TargetName::new(target).unwrap()).as_ref())
    };
    assert!(may("frank", Action::Revoke, Some("any")) && may("frank", Action::Audit, None));
    assert!(!may("frank", Action::Revoke, Some("secret")) && !may("frank", Action::Stop, None));
    // an action on all targets is asked about the tenant: a `forbid` on one target does not deny it
    assert!(may("frank", Action::Revoke, None));
    assert!(may("bob", Action::Stop, Some("orders-prod")) && !may("bob", Action::Stop, Some("other")));
    assert!(
        !may("bob", Action::Stop, None) && may("bob", Action::Resume, None) && may("bob", Action::Resume, Some("any"))
    );
    assert!(!may("erin", Action::Stop, Some("orders-prod")) && may("erin-admin", Action::Stop, Some("orders-prod")));
    assert!(!Action::ALL.into_iter().any(|action| may("alice", action, Some("orders-prod"))));
}

#[test]
fn policy_names_groups_roles_and_what_others_have_to_bring() {
    let policy = policy(
        r#"@id("several") @plan("second factor") permit(principal in Jit::Group::"security", action == Jit::Action::"request", resource)
        when { resource in [Jit::Role::"orders-prod/a", Jit::Role::"orders-test/b/c"] } when { context.duration < 60 };"#,
    );
    let text = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" ");
    let roles = |target: &str| {
        text(policy.requestable(&TargetName::new(target).unwrap()).into_iter().map(|role| role.to_string()).collect())
    };
    assert_eq!(
        (roles("orders-prod"), roles("orders-test"), roles("x")),
        ("a orders_write".into(), "b/c".into(), "".into())
    );
    assert_eq!(text(policy.groups().iter().map(ToString::to_string).collect()), "dba payments security");
    let mentions = policy.mentions();
    assert!(mentions.any_factor && mentions.approvers.len() == 1 && mentions.notifiers.len() == 2);
    assert!(policy.directory().is_some());
    let short = Ask { target: "orders-test", role: "b/c", duration: TimeDelta::seconds(5), ..ask("frank") };
    assert_eq!(short.planned(&policy).rule.as_str(), "several");
    Ask { target: "orders-test/b", role: "c", ..short }.denied(&policy);
}

#[test]
fn targets_that_are_not_configured_are_named_with_their_policies() {
    let told = policy("").unmatched(&BTreeSet::new());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("policy `change orders` names `orders-prod`, "), "{told:?}");
    assert!(policy("").unmatched(&BTreeSet::from([TargetName::new("orders-prod").unwrap()])).is_empty());
}

#[test]
fn the_hash_is_of_both_texts_and_what_no_policy_names_is_a_warning() {
    let one = policy("");
    assert_eq!(one.hash().len(), 64);
    assert_ne!(one.hash(), policy(" ").hash());
    let other = CedarPolicy::parse(CHANGE, &format!("{DOCUMENT} "), "test").unwrap();
    assert_ne!(one.hash(), other.hash());
    let unused: Vec<String> = one.check().iter().map(ToString::to_string).collect();
    assert_eq!(unused.len(), 2, "{unused:?}");
    assert!(unused[0].contains("no policy names plan `second factor`"), "{unused:?}");
}

#[test]
fn files_are_read_and_one_that_is_not_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (cedar, toml) = (folder.path().join("policy.cedar"), folder.path().join("policy.toml"));
    std::fs::write(&cedar, CHANGE).unwrap();
    assert!(
        matches!(CedarPolicy::load(&cedar, &toml), Err(PolicyError::Unreadable { path, .. }) if path.ends_with("policy.toml"))
    );
    std::fs::write(&toml, DOCUMENT).unwrap();
    assert_eq!(CedarPolicy::load(&cedar, &toml).unwrap().hash(), policy("").hash());
}

#[test]
fn what_is_asked_conforms_to_the_schema() {
    use cedar_policy::{Entities, Request, Schema};
    let policy = policy("");
    let schema: Schema = CedarPolicy::SCHEMA.parse().unwrap();
    let question = Ask { grantee: "bob", ..ask("alice") };
    let names = &policy.names;
    let asked = question
        .with(policy.people(), &policy.groups(), |question| CedarRequest::of(question, ask::Side::Requester, names))
        .unwrap();
    let frank = policy.people().look_up(&Principal::new("frank").unwrap(), &policy.groups());
    let mut all = vec![asked];
    for target in [None, Some(TargetName::new("x").unwrap())] {
        all.extend(Action::ALL.map(|action| CedarRequest::may(action, &frank, target.as_ref(), names).unwrap()));
    }
    for CedarRequest { request, entities } in all {
        let (principal, action, resource) = (request.principal(), request.action(), request.resource());
        let context = request.context().unwrap().clone();
        let parts = (principal.unwrap().clone(), action.unwrap().clone(), resource.unwrap().clone());
        Request::new(parts.0, parts.1, parts.2, context, Some(&schema)).unwrap();
        Entities::from_entities(entities, Some(&schema)).unwrap();
    }
}
