//! Properties of the approval machine, checked by brute force on small cases.

mod workflow;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::actor::Evidence;
use crate::id::{AccessId, Group, Principal, QuestionId, RuleName};

/// A person as the directory has them: a name, a human behind it, and their rights.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Somebody {
    name: usize,
    human: usize,
    groups: BTreeSet<usize>,
    manages_requester: bool,
    manages_grantee: bool,
}

/// Number of the requester's name and human, then of the grantee's, among the numbers of
/// `Somebody`.
const REQUESTER: usize = 0;
const GRANTEE: usize = 1;
const NAMES: usize = 8;

fn name(number: usize) -> Principal {
    Principal::new(format!("p{number}")).unwrap()
}

fn group(number: usize) -> Group {
    Group::new(format!("g{number}")).unwrap()
}

impl Somebody {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            human: name(self.human),
            requester: name(REQUESTER),
            grantee: name(GRANTEE),
            groups: self.groups.iter().copied().map(group).collect(),
            manages_requester: self.manages_requester,
            manages_grantee: self.manages_grantee,
        }
    }

    fn decides(&self, verdict: Verdict) -> Decision {
        Decision {
            question: QuestionId::of(access()),
            by: name(self.name),
            verdict,
            at: DateTime::UNIX_EPOCH,
            note: String::new(),
            evidence: Evidence::default(),
            snapshot: self.snapshot(),
            proven: None,
            in_place_of: None,
        }
    }

    fn fresh(&self) -> Fresh {
        Fresh { by: name(self.name), snapshot: self.snapshot(), in_place_of: None }
    }

    fn is_party(&self) -> bool {
        [REQUESTER, GRANTEE].contains(&self.human) || [REQUESTER, GRANTEE].contains(&self.name)
    }

    fn is_asked_by(&self, requirement: &Requirement) -> bool {
        !self.is_party()
            && match requirement {
                Requirement::Group { group: asked, .. } => self.groups.iter().any(|own| group(*own) == *asked),
                Requirement::ManagerOf(RequirementParty::Requester) => self.manages_requester,
                Requirement::ManagerOf(RequirementParty::Grantee) => self.manages_grantee,
                Requirement::Person(person) => name(self.name) == *person,
                Requirement::Any(options) => options.iter().any(|option| self.is_asked_by(option)),
            }
    }
}

/// Checks whether the people meet all requirements, each human once. Tries everything.
fn met(requirements: &[Requirement], people: &[Somebody]) -> bool {
    let Some((first, rest)) = requirements.split_first() else { return true };
    let then = |requirement: Requirement| [&[requirement], rest].concat();
    match first {
        Requirement::Group { quorum: 0, .. } => met(rest, people),
        Requirement::Any(options) => options.iter().any(|option| met(&then(option.clone()), people)),
        one => people.iter().filter(|person| person.is_asked_by(one)).any(|person| {
            let left: Vec<Somebody> = people.iter().filter(|other| other.human != person.human).cloned().collect();
            match one {
                Requirement::Group { group, quorum } => {
                    met(&then(Requirement::Group { group: group.clone(), quorum: quorum - 1 }), &left)
                }
                _ => met(rest, &left),
            }
        }),
    }
}

fn all_of(stages: &[Stage]) -> Vec<Requirement> {
    stages.iter().flat_map(|stage| stage.people.clone()).collect()
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let one = prop_oneof![
        4 => (0..3_usize, 1..4_u32).prop_map(|(number, quorum)| Requirement::Group { group: group(number), quorum }),
        1 => Just(Requirement::ManagerOf(RequirementParty::Requester)),
        1 => Just(Requirement::ManagerOf(RequirementParty::Grantee)),
        2 => (0..NAMES).prop_map(|number| Requirement::Person(name(number))),
    ];
    one.prop_recursive(2, 4, 3, |inner| proptest::collection::vec(inner, 1..3).prop_map(Requirement::Any))
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let stage = proptest::collection::vec(requirement(), 1..3).prop_map(|people| Stage { people, ..Stage::default() });
    proptest::collection::vec(stage, 0..3)
}

/// Generates every person once, by name. Some are aliases of another's human.
fn everybody() -> impl Strategy<Value = Vec<Somebody>> {
    let one = (prop_oneof![3 => Just(None), 1 => (0..NAMES).prop_map(Some)], 0..8_u8, 0..8_u8);
    proptest::collection::vec(one, NAMES).prop_map(|all| {
        let somebody = |(name, (alias_of, groups, manages)): (usize, (Option<usize>, u8, u8))| Somebody {
            name,
            human: alias_of.unwrap_or(name),
            groups: (0..3).filter(|bit| groups & (1 << bit) != 0).collect(),
            manages_requester: manages & 6 == 6,
            manages_grantee: manages & 5 == 5,
        };
        all.into_iter().enumerate().map(somebody).collect()
    })
}

fn plan(stages: Vec<Stage>) -> Plan {
    Plan { stages, ..Plan::new(RuleName::new("r").unwrap(), "", TimeDelta::hours(1)) }
}

fn access() -> AccessId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

/// Returns another question than the request.
fn other() -> QuestionId {
    "0000000000ff".parse().unwrap()
}

fn approval(stages: Vec<Stage>) -> Approval {
    Approval::new(
        access(),
        Parties { requester: name(REQUESTER), grantee: name(GRANTEE) },
        plan(stages),
        DateTime::UNIX_EPOCH,
    )
}

/// Returns the people behind the accepted decisions.
fn deciders(approval: &Approval, verdict: Verdict, everybody: &[Somebody]) -> Vec<Somebody> {
    let by: BTreeSet<&Principal> = approval
        .decisions()
        .iter()
        .filter(|decision| decision.verdict == verdict)
        .map(|decision| &decision.by)
        .collect();
    everybody.iter().filter(|person| by.contains(&name(person.name))).cloned().collect()
}

/// Lets the people decide in this order. A refused decision changes nothing.
fn decide_all(mut approval: Approval, order: &[(usize, bool)], everybody: &[Somebody]) -> Approval {
    for (who, approves) in order {
        let verdict = if *approves { Verdict::Approve } else { Verdict::Deny };
        if let Ok(next) = approval.decide(everybody[*who].decides(verdict)) {
            approval = next;
        }
    }
    approval
}

fn waits(state: ApprovalState) -> bool {
    matches!(state, ApprovalState::Waiting { .. })
}

fn order() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((0..NAMES, proptest::bool::weighted(0.95)), 0..24)
}

/// Returns the highest number of needs that people can fill, by trying every way.
fn most(need: usize, fits: &[Vec<bool>], taken: &mut Vec<bool>) -> usize {
    let Some(row) = fits.get(need) else { return 0 };
    let mut best = most(need + 1, fits, taken);
    for person in 0..row.len() {
        if row[person] && !taken[person] {
            taken[person] = true;
            best = best.max(1 + most(need + 1, fits, taken));
            taken[person] = false;
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_matching_is_as_large_as_any(
        fits in (0..5_usize).prop_flat_map(|people| proptest::collection::vec(proptest::collection::vec(any::<bool>(), people), 0..6))
    ) {
        let people = fits.first().map_or(0, Vec::len);
        let found = matching(fits.len(), people, &|need, person| fits[need][person]);
        prop_assert_eq!(found, most(0, &fits, &mut vec![false; people]));
    }

    #[test]
    fn law_08_satisfied_is_exactly_when_distinct_entitled_humans_meet_everything(
        stages in stages(), everybody in everybody(), order in order()
    ) {
        let mut approval = approval(stages.clone());
        for (who, approves) in order {
            let person = &everybody[who];
            let before = approval.state();
            let decision = person.decides(if approves { Verdict::Approve } else { Verdict::Deny });
            let answer = approval.decide(decision.clone());
            // spurious and repeated: the same decision has the same result, and a refusal leaves no
            // trace
            prop_assert_eq!(&approval.decide(decision), &answer);
            match answer {
                Ok(next) => {
                    let asked = stages.iter().flat_map(|stage| &stage.people).any(|asked| person.is_asked_by(asked));
                    prop_assert!(asked && waits(before));
                    prop_assert_eq!(next.decisions().len(), approval.decisions().len() + 1);
                    approval = next;
                }
                Err(DecisionRefused::Closed) => prop_assert!(!waits(before)),
                Err(DecisionRefused::OwnRequest) => prop_assert!(person.is_party()),
                Err(_) => prop_assert!(!person.is_party()),
            }
            let yes = deciders(&approval, Verdict::Approve, &everybody);
            let humans: BTreeSet<usize> = yes.iter().map(|person| person.human).collect();
            prop_assert_eq!(humans.len(), yes.len());
            prop_assert!(yes.iter().all(|person| !person.is_party()));
            let expected = if !deciders(&approval, Verdict::Deny, &everybody).is_empty() {
                ApprovalState::Refused
            } else {
                match (0..stages.len()).find(|stage| !met(&all_of(&stages[..=*stage]), &yes)) {
                    Some(stage) => ApprovalState::Waiting { stage },
                    None => ApprovalState::Satisfied,
                }
            };
            prop_assert_eq!(approval.state(), expected);
            prop_assert_eq!(approval.witness().is_some(), expected == ApprovalState::Satisfied);
            prop_assert_eq!(approval.pending_on().is_empty(), !waits(expected));
        }
    }

    #[test]
    fn law_08_whoever_waits_and_is_asked_in_this_stage_is_heard(stages in stages(), everybody in everybody(), order in order()) {
        let approval = decide_all(approval(stages.clone()), &order, &everybody);
        let ApprovalState::Waiting { stage } = approval.state() else { return Ok(()) };
        let heard: BTreeSet<Principal> =
            approval.decisions().iter().map(|decision| decision.snapshot.human.clone()).collect();
        for person in &everybody {
            let fresh = !heard.contains(&name(person.human)) && !person.is_party();
            let asked = stages[stage].people.iter().any(|asked| person.is_asked_by(asked));
            if fresh && asked {
                prop_assert!(approval.decide(person.decides(Verdict::Approve)).is_ok());
                prop_assert!(approval.decide(person.decides(Verdict::Deny)).is_ok());
            }
        }
    }

    #[test]
    fn law_08_ruled_again_counts_those_still_entitled_and_nobody_else(
        before in stages(), after in stages(), change in any::<bool>(), everybody in everybody(), now in everybody(),
        known in proptest::collection::vec(any::<bool>(), NAMES), order in order(),
    ) {
        let after = if change { after } else { before.clone() };
        let decided = decide_all(approval(before), &order, &everybody);
        let fresh: Vec<Fresh> =
            now.iter().filter(|person| known[person.name]).map(Somebody::fresh).collect();
        let again = decided.ruled_again(plan(after.clone()), &fresh, other());
        let names = |approval: &Approval| -> Vec<Principal> {
            approval.decisions().iter().map(|decision| decision.by.clone()).collect()
        };
        prop_assert_eq!(names(&again), names(&decided), "decisions stay on record");
        let still: Vec<Somebody> =
            deciders(&decided, Verdict::Approve, &now).into_iter().filter(|person| known[person.name]).collect();
        let no = deciders(&decided, Verdict::Deny, &now).into_iter().any(|person| {
            known[person.name] && after.iter().flat_map(|stage| &stage.people).any(|asked| person.is_asked_by(asked))
        });
        prop_assert_eq!(again.state() == ApprovalState::Refused, no);
        let satisfied = again.state() == ApprovalState::Satisfied;
        prop_assert!(!satisfied || met(&all_of(&after), &still));
        // two deciders who turn out to be one human count once, for whatever either is entitled to
        prop_assert!(no || satisfied == met(&all_of(&after), &still));
        // and again with everybody as before: nothing was forgotten
        let was: Vec<Fresh> = everybody.iter().map(Somebody::fresh).collect();
        let back = again.ruled_again(decided.plan().clone(), &was, decided.question());
        prop_assert_eq!((back.state(), back.decisions()), (decided.state(), decided.decisions()));
        // another plan is another question, and earlier answers keep the question that they are
        // about
        let changed = !again.plan().same_terms(decided.plan());
        prop_assert_eq!(again.question() == decided.question(), !changed);
        prop_assert!(decided.decisions().iter().all(|one| again.has_asked(one.question)));
    }

    #[test]
    fn a_stored_approval_loads_as_it_was(stages in stages(), everybody in everybody(), order in order()) {
        let approval = decide_all(approval(stages), &order, &everybody);
        let stored = serde_json::to_string(&approval).unwrap();
        prop_assert_eq!(serde_json::from_str::<Approval>(&stored).unwrap(), approval);
    }
}

#[test]
fn a_person_whom_the_plan_names_and_the_directory_no_longer_knows_does_not_count() {
    let by_name = Stage { people: vec![Requirement::Person(name(5))], ..Stage::default() };
    let person =
        Somebody { name: 5, human: 5, groups: BTreeSet::new(), manages_requester: false, manages_grantee: false };
    let approval = approval(vec![by_name.clone()]).decide(person.decides(Verdict::Approve)).unwrap();
    assert!(approval.witness().is_some());
    assert_eq!(approval.ruled_again(plan(vec![by_name]), &[], other()).state(), ApprovalState::Waiting { stage: 0 });
}

#[test]
fn law_08_a_stored_approval_with_an_impossible_decision_does_not_load() {
    let person = |name: usize, human: usize| Somebody {
        name,
        human,
        groups: [0].into(),
        manages_requester: false,
        manages_grantee: false,
    };
    let stage = Stage { people: vec![Requirement::Group { group: group(0), quorum: 2 }], ..Stage::default() };
    let with = |people: &[Somebody]| {
        let mut stored = serde_json::to_value(approval(vec![stage.clone()])).unwrap();
        let decisions: Vec<Decision> = people.iter().map(|person| person.decides(Verdict::Approve)).collect();
        stored["decisions"] = serde_json::to_value(decisions).unwrap();
        serde_json::from_value::<Approval>(stored)
    };
    assert!(with(&[person(REQUESTER, 6), person(5, 5)]).is_err(), "the requester, whatever human it claims");
    assert!(with(&[person(GRANTEE, 6), person(5, 5)]).is_err());
    assert!(with(&[person(5, 5), person(5, 6)]).is_err(), "one name twice");
    assert!(with(&[person(5, 6), person(6, 6)]).unwrap().witness().is_none(), "one human twice counts once");
    assert!(with(&[person(5, REQUESTER), person(6, 6)]).unwrap().witness().is_none());
    assert!(with(&[person(5, 5), person(6, 6)]).unwrap().witness().is_some());
}

#[test]
fn law_01_a_stored_conclusion_does_not_load() {
    let stage = Stage { people: vec![Requirement::Person(name(5))], ..Stage::default() };
    let mut stored = serde_json::to_value(approval(vec![stage])).unwrap();
    stored["state"] = "satisfied".into();
    assert!(serde_json::from_value::<Approval>(stored).is_err());
}

#[test]
fn what_is_awaited_is_said_by_requirement() {
    let stage = Stage {
        people: vec![
            Requirement::ManagerOf(RequirementParty::Requester),
            Requirement::Group { group: group(0), quorum: 2 },
        ],
        ..Stage::default()
    };
    let people: BTreeMap<usize, Somebody> = (2..6)
        .map(|number| {
            let person = Somebody {
                name: number,
                human: number,
                groups: [0].into(),
                manages_requester: number == 2,
                manages_grantee: false,
            };
            (number, person)
        })
        .collect();
    let first = approval(vec![stage]);
    assert_eq!(first.pending_on(), ["the manager of the requester", "2 more of group `g0` (2 needed)"]);
    let second = first.decide(people[&3].decides(Verdict::Approve)).unwrap();
    assert_eq!(second.pending_on(), ["the manager of the requester", "1 more of group `g0` (2 needed)"]);
    let third = second.decide(people[&2].decides(Verdict::Approve)).unwrap();
    assert_eq!(third.pending_on(), ["1 more of group `g0` (2 needed)"]);
    assert!(third.decide(people[&4].decides(Verdict::Approve)).unwrap().pending_on().is_empty());
}

#[test]
fn law_19_what_is_said_about_another_question_does_not_count() {
    let stage = Stage { people: vec![Requirement::Group { group: group(0), quorum: 1 }], ..Stage::default() };
    let person = Somebody { name: 5, human: 5, groups: [0].into(), manages_requester: false, manages_grantee: false };
    let request = approval(vec![stage.clone()]);
    let more = approval(vec![stage.clone()]).asked_as(other());
    let yes = person.decides(Verdict::Approve);
    assert_eq!(more.decide(yes.clone()), Err(DecisionRefused::AnotherQuestion));
    let said = request.decide(yes.clone()).unwrap();
    assert!(said.witness().is_some());
    // nor in the store: decisions that are moved to another question do not load
    let mut forged = serde_json::to_value(&more).unwrap();
    forged["decisions"] = serde_json::to_value(said.decisions()).unwrap();
    assert!(serde_json::from_value::<Approval>(forged).is_err());
    // a stricter plan asks anew: a late answer to the first does not count, one that was in time
    // does
    let twice = Stage { people: vec![Requirement::Group { group: group(0), quorum: 2 }], ..Stage::default() };
    let stricter = request.ruled_again(plan(vec![twice.clone()]), &[], other());
    assert_eq!(stricter.decide(yes), Err(DecisionRefused::AnotherQuestion));
    let kept = said.ruled_again(plan(vec![twice]), &[person.fresh()], other());
    assert_eq!(kept.state(), ApprovalState::Waiting { stage: 0 });
    assert_eq!(kept.decisions().len(), 1);
}
