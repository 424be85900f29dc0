//! A document of rules and Cedar policies of the same meaning rule the same.

use super::*;
use crate::policy::{Mentions, PolicyDocument};

const PEOPLE: &str = r#"version = 1
[groups]
payments = ["alice", "dave", "gina"]
support = ["henry", "erin-admin"]
dba = ["bob", "carol", "erin"]
[managers]
alice = "bob"
[people]
erin = ["erin-admin"]
"#;

const CHANGE_TERMS: &str = r#"
max_total = "4h"
reason = { min_length = 10 }
ticket = { pattern = "[A-Z]+-[0-9]+", check = "jira" }
decide_by = "45m"
start_within = "24h"
prepared = "rollback"
"#;

const CHANGE_STAGES: [&str; 2] =
    ["people = [{ manager_of = \"requester\" }, { group = \"dba\", quorum = 2 }]", "approvers = [\"board\"]"];

fn document() -> String {
    let [first, second] = CHANGE_STAGES;
    format!(
        r#"{PEOPLE}
[[rule]]
name = "read orders"
targets = ["orders-prod", "orders-test"]
roles = ["read"]
requesters = ["group:payments"]
max = "4h"
[[rule]]
name = "change orders"
targets = ["orders-prod"]
roles = ["write"]
requesters = ["group:payments"]
grantees = ["group:dba", "alice"]
max = "1h"
{CHANGE_TERMS}
[[rule.stage]]
{first}
[[rule.stage]]
{second}
[[rule]]
name = "tickets only"
targets = ["orders-prod"]
roles = ["read"]
requesters = ["group:dba", "henry"]
max = "30m"
ticket = {{ pattern = "OPS-.*" }}
[[rule]]
name = "for others"
targets = ["scratch"]
roles = ["read", "write"]
requesters = ["erin-admin", "bob"]
grantees = ["*"]
max = "2h"
start_within = "24h"
[[rule.stage]]
people = [{{ group = "payments" }}]
"#
    )
}

fn plans() -> String {
    let [first, second] = CHANGE_STAGES;
    format!(
        r#"{PEOPLE}
[plan.free]
max = "4h"
[plan.change]
max = "3h"
{CHANGE_TERMS}
[[plan.change.stage]]
{first}
[[plan.change.stage]]
{second}
[plan.one]
max = "2h"
start_within = "24h"
[[plan.one.stage]]
people = [{{ group = "payments" }}]
"#
    )
}

const CEDAR: &str = r#"
@id("read prod") @plan("free")
permit(principal in Jit::Group::"payments", action == Jit::Action::"request", resource == Jit::Role::"orders-prod/read");
@id("read test") @plan("free")
permit(principal in Jit::Group::"payments", action == Jit::Action::"request", resource in Jit::Role::"orders-test/read");
@id("change orders") @plan("change") @max("1h")
permit(principal, action == Jit::Action::"request", resource == Jit::Role::"orders-prod/write")
when {
  principal in Jit::Group::"payments" &&
  (context.grantee in Jit::Group::"dba" || context.receiver == Jit::Principal::"alice")
};
@id("tickets only") @plan("free") @max("30m")
permit(principal, action == Jit::Action::"request", resource)
when { resource == Jit::Role::"orders-prod/read" }
when { principal in Jit::Group::"dba" || principal == Jit::Principal::"henry" }
when { context.duration <= 1800 && context has ticket && context.ticket like "OPS-*" && !context.scheduled };
@id("for others") @plan("one")
permit(principal, action == Jit::Action::"request", resource)
when { resource in [Jit::Role::"scratch/read", Jit::Role::"scratch/write"] }
when { [Jit::Principal::"erin-admin", Jit::Principal::"bob"].contains(principal) && context.receiver == context.receiver };
"#;

/// Numbers that look random and are the same every time (Steele and Vigna's SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[test]
fn ten_thousand_requests_are_ruled_alike() {
    let toml = PolicyDocument::parse(&document(), "toml").unwrap();
    let cedar = match CedarPolicy::parse(CEDAR, &plans(), "cedar") {
        Ok(cedar) => cedar,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(toml.groups(), cedar.groups());
    // the Cedar text itself names people whom the TOML document names in its rules, so people are
    // not compared
    let mentions = |policy: &dyn Policy| Mentions { people: BTreeSet::new(), ..policy.mentions() };
    assert_eq!(mentions(&toml), mentions(&cedar));
    let targets = ["orders-prod", "orders-test", "scratch", "other"];
    for target in targets {
        let target = TargetName::new(target).unwrap();
        assert_eq!(toml.requestable(&target), cedar.requestable(&target));
        assert_eq!(toml.activates(&target), cedar.activates(&target));
    }
    let people = ["alice", "dave", "gina", "henry", "erin", "erin-admin", "bob", "carol", "zoe"];
    let minutes = [10, 20, 30, 31, 60, 61, 120, 121, 240, 241, 0, -1];
    let tickets = [Some("OPS-1"), Some("OPS-12"), Some("XY-3"), Some("OPS-"), Some("ops-1"), Some(""), None];
    let starts = [None, None, None, None, Some(-1), Some(0), Some(60), Some(24 * 60), Some(24 * 60 + 1)];
    let mut numbers = Numbers(20_261_101);
    let mut planned: BTreeMap<RuleName, usize> = BTreeMap::new();
    let mut exceeded = 0;
    let groups = toml.groups();
    for _ in 0..10_000 {
        let requester = numbers.one(&people);
        let grantee = if numbers.below(2) == 0 { requester } else { numbers.one(&people) };
        let question = Ask {
            target: numbers.one(&targets),
            role: numbers.one(&["read", "read", "write"]),
            requester,
            grantee,
            duration: TimeDelta::minutes(numbers.one(&minutes)),
            reason: numbers.one(&["", "short", "a good reason", "another good reason", "one more good reason"]),
            ticket: numbers.one(&tickets),
            start: numbers.one(&starts).map(|minutes| asked_at() + TimeDelta::minutes(minutes)),
            break_glass: numbers.below(50) == 0,
        };
        let rulings = question.with(toml.people(), &groups, |question| (toml.rule(question), cedar.rule(question)));
        match rulings {
            (Ruling::Planned(one), Ruling::Planned(other)) => {
                assert!(one.same_terms(&other), "{question:?}\n{one:?}\n{other:?}");
                assert_eq!(one.notify, other.notify);
                *planned.entry(other.rule).or_default() += 1;
            }
            (Ruling::Denied { rule: Some(_), reason, .. }, Ruling::Denied { rule: Some(_), reason: other, .. }) => {
                assert_eq!(reason, other, "{question:?}");
                exceeded += 1;
            }
            (Ruling::Denied { .. }, Ruling::Denied { .. }) => {}
            (one, other) => panic!("{question:?}\n{one:?}\n{other:?}"),
        }
    }
    assert!(planned.len() == 5 && planned.values().all(|times| *times > 5) && exceeded > 100, "{planned:?} {exceeded}");
}
