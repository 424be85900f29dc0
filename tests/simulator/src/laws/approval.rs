//! Laws 1, 8 and 16 before a grant: who decided, with which right and which proof.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::records::{ApprovalRecord, DecisionRecord, HeardRecord, IntentRecord, RequestRecord};
use super::said::REVIEW;
use super::{Case, Lawful, Oracle, broken, human};
use jit_core::clock::{Time, after, span};

/// Time for which a pass may continue that began before a stop: a call of the store that hangs (20
/// s), and its claim (10 s).
const PASS: TimeDelta = TimeDelta::seconds(30);
/// Time for which a pass may continue that began before a decision, or before another policy was
/// put in force.
const RECENT: TimeDelta = TimeDelta::seconds(60);
/// Limit of every second factor of the simulated policy: `within = "1m"`.
const WITHIN: TimeDelta = TimeDelta::seconds(60);
/// Delay of every escalation of the simulated policy: `after = "20s"`.
const ESCALATES: TimeDelta = TimeDelta::seconds(20);
/// Time for which the tracker's yes is good for a grant: 60 s, and the pass that found it good.
const AGAIN: TimeDelta = TimeDelta::seconds(90);

/// Demands of the simulated policies for a role.
#[derive(Debug, Default)]
struct Demands {
    ticket: bool,
    /// Flag: a second factor of the requester is needed.
    code: bool,
    board: bool,
    people: usize,
    /// Flag: a second factor of everybody who says yes is needed.
    codes: bool,
    escalates: bool,
}

impl Demands {
    fn of(request: &RequestRecord, owes: bool) -> Self {
        match (request.break_glass, request.role.as_str()) {
            (true, _) => Self { code: true, people: usize::from(owes), ..Self::default() },
            (false, "writer") => Self { people: 1, escalates: true, ..Self::default() },
            (false, "admin") => Self { people: 2, ..Self::default() },
            (false, "owner") => Self { ticket: true, code: true, board: true, people: 1, codes: true, escalates: true },
            _ => Self::default(),
        }
    }
}

/// Reason why a role may not be granted, with the law that says so.
type Lack = (u8, String);

impl Oracle {
    /// Checks laws 1 and 8, and stops, when a grant is about to be ordered.
    pub(super) fn intended(&mut self, node: usize, id: &str, case: &Case, intent: &IntentRecord, at: Time) -> Lawful {
        if case.start.is_some_and(|start| at < start) {
            return Err(broken(1, format!("{id} begins before its start")));
        }
        if intent.at > at {
            return Err(broken(10, format!("{id} is intended at {}, later than it is", intent.at)));
        }
        let request = &case.request;
        let parties = [request.requester.as_str(), request.grantee.as_str()];
        // a suspended node goes on with what it knew; it does not send what it intends then (law
        // 14)
        let suspended = self.stale_since.get(node).copied().flatten().is_some_and(|since| span(since, at) < RECENT);
        // a node that was suspended while its intent was on its way cannot know the intent's age:
        // the intent has to be right for the time when it was made, and must not be sent
        match self.allows(node, id, case, &case.heard, at) {
            Err(_) if suspended && intent.at < at => {
                self.allows(node, id, case, &case.heard, intent.at)?;
                self.too_late.insert((id.to_owned(), intent.label.clone()));
            }
            allowed => allowed?,
        }
        let met = self.stops.iter().find(|stop| {
            case.tenant == "default"
                && !suspended
                && !stop.lifted
                && stop.meets(&request.target, parties)
                && span(stop.at, at) > PASS
        });
        match met {
            Some(stop) => Err(broken(16, format!("{id} is granted during the stop of {}", stop.at))),
            None => Ok(()),
        }
    }

    /// Checks whether the approvals satisfy a policy that the node has in force, or had a moment
    /// ago.
    pub(super) fn allows(&self, node: usize, id: &str, case: &Case, said: &ApprovalRecord, at: Time) -> Lawful {
        let policies = match self.in_force.get(node) {
            Some(policy) if span(policy.since, at) < RECENT => vec![policy.now, policy.before],
            Some(policy) => vec![policy.now],
            None => vec![0, 1],
        };
        let mut lacks = policies.iter().map(|policy| self.lacks(*policy, id, case, said, at));
        let first = lacks.next().flatten();
        match first.filter(|_| lacks.all(|lack| lack.is_some())) {
            Some((law, why)) => Err(broken(law, format!("{id} ({}) is granted, and {why}", case.request.role))),
            None => Ok(()),
        }
    }

    /// Returns what is missing under this policy.
    fn lacks(&self, policy: usize, id: &str, case: &Case, said: &ApprovalRecord, at: Time) -> Option<Lack> {
        let request = &case.request;
        let parties = [request.requester.as_str(), request.grantee.as_str()];
        let may = parties.iter().all(|party| allowed(policy, &case.tenant, party, &request.role));
        if !may || request.break_glass && !on_call(policy, &request.requester) {
            return Some((8, "who gets it is not allowed it any more".to_owned()));
        }
        let demands = Demands::of(request, self.owes(human(&request.requester), at));
        let missing = |why: &str| Some((1, why.to_owned()));
        let yes = |approver: &str| said.answers.iter().find(|heard| said_yes(heard, approver));
        let mut reached = said.opened_at;
        if demands.ticket {
            let Some(heard) = yes("tracker") else { return missing("the tracker did not say yes") };
            if span(heard.answer.at, at) > AGAIN {
                return missing("what the tracker said is old");
            }
            reached = reached.max(heard.since);
        }
        if demands.code {
            let fresh = said
                .confirmations
                .iter()
                .filter(|one| one.by == request.requester && span(one.proven.at, one.at.max(reached)) <= WITHIN);
            let Some(first) = fresh.map(|one| one.at).min() else { return missing("the requester proved nothing") };
            reached = reached.max(first);
        }
        if demands.board && yes("board").is_none() {
            return missing("the board did not say yes");
        }
        let yes = said.yes();
        let counts = |one: &DecisionRecord| {
            let standing = one.in_place_of.as_ref().map_or(&one.by, |away| &away.who);
            let called = self.called.contains(&(one.by.clone(), id.to_owned()));
            let party = parties.iter().any(|party| humans(one).contains(human(party)));
            let escalated = demands.escalates && leads(standing) && one.at >= after(reached, ESCALATES);
            let second = request.break_glass && on_call(policy, standing);
            let asked = entitled(policy, standing) || escalated || second;
            let proven = one.proven.as_ref().is_some_and(|proven| span(proven.at, one.at) <= WITHIN);
            called && !party && asked && (proven || !demands.codes) && self.may_stand_in(one)
        };
        let counted: Vec<&DecisionRecord> = yes.iter().copied().filter(|one| counts(one)).collect();
        if distinct(&counted, demands.people) {
            return None;
        }
        let law = if yes.len() < demands.people { 1 } else { 8 };
        let by: Vec<&String> = yes.iter().map(|one| &one.by).collect();
        Some((law, format!("the yes of {by:?} does not do (it counts {} of {})", counted.len(), demands.people)))
    }

    /// Checks whether the absent approver allowed the substitute, and did not withdraw that before
    /// the grant. The first of the two to commit counts, because the state that governs a grant is
    /// committed with it.
    fn may_stand_in(&self, one: &DecisionRecord) -> bool {
        let Some(away) = &one.in_place_of else { return true };
        let given = self.desk.instead.get(&away.who).into_iter().flatten();
        given
            .into_iter()
            .any(|given| given.to == one.by && given.since <= one.at && one.at < given.until && !given.back)
    }

    /// Returns an approver in whose place somebody decided on an access that is not granted yet.
    pub(crate) fn away(&self) -> Option<String> {
        let open = self.cases.values().filter(|case| matches!(case.state.as_str(), "pending" | "scheduled"));
        let mut away = open.flat_map(|case| &case.heard.decisions).filter_map(|one| one.in_place_of.as_ref());
        away.next().map(|away| away.who.clone())
    }

    /// Checks whether the human owes a review of an emergency for more than a moment.
    fn owes(&self, human_is: &str, at: Time) -> bool {
        let own = self.cases.values().filter(|case| human(&case.request.requester) == human_is);
        let mut owed = own.filter_map(|case| case.review.as_ref()).filter(|review| review.given.is_none());
        owed.any(|review| span(after(review.due, -REVIEW), at) > RECENT)
    }
}

fn said_yes(heard: &HeardRecord, approver: &str) -> bool {
    heard.answer.approver == approver && heard.answer.verdict == "approve"
}

/// Returns the humans who share this one decision.
fn humans(one: &DecisionRecord) -> BTreeSet<&str> {
    let away = one.in_place_of.as_ref().map(|away| human(&away.who));
    std::iter::once(human(&one.by)).chain(away).collect()
}

/// Checks whether there are enough decisions that no two share a human.
fn distinct(all: &[&DecisionRecord], needed: usize) -> bool {
    let Some(left) = needed.checked_sub(1) else { return true };
    all.iter().enumerate().any(|(place, one)| {
        let rest = all.iter().skip(place.saturating_add(1)).copied();
        let others: Vec<&DecisionRecord> = rest.filter(|other| humans(other).is_disjoint(&humans(one))).collect();
        distinct(&others, left)
    })
}

/// Checks whether a principal may say yes under this policy.
pub(super) fn entitled(policy: usize, principal: &str) -> bool {
    match principal {
        "bob" => policy == 0,
        "carol" | "alice-dba" => true,
        _ => false,
    }
}

/// Checks whether the principal may also say yes after an escalation.
pub(super) fn leads(principal: &str) -> bool {
    matches!(principal, "frank" | "mallory")
}

/// Checks whether the principal may take a role in an emergency.
fn on_call(policy: usize, principal: &str) -> bool {
    match principal {
        "dave" => policy == 0,
        "alice" | "erin" => true,
        _ => false,
    }
}

/// Checks whether the policy lets this principal have this role at all.
fn allowed(policy: usize, tenant: &str, principal: &str, role: &str) -> bool {
    tenant != "default" || policy == 0 || role != "reader" || principal != "dave"
}
