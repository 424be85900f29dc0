//! Compares the whole machine with a judge that tries everything. It covers people, second factors,
//! outside systems, escalation, delegation, and changing groups and aliases, in any order and at
//! any times.

use super::*;
use crate::clock::{Time, after};
use crate::id::{ApproverName, FactorName};

/// Something that people or systems say, or that changes.
#[derive(Debug, Clone)]
enum Act {
    Decide {
        who: usize,
        approves: bool,
        in_place_of: Option<usize>,
        proven: Option<i64>,
    },
    Confirm {
        who: usize,
        age: i64,
    },
    Answer {
        system: usize,
        yes: bool,
    },
    /// The grant is about to be made. An answer that counts for a minute only does not count if it
    /// is older.
    Begin,
    /// The directory gives other answers from now on, and none about some people.
    Change {
        everybody: Vec<Somebody>,
        known: Vec<bool>,
        away: Vec<bool>,
    },
}

/// Accepted answers, and the present answers of the directory.
#[derive(Debug, Clone)]
struct Judge {
    stages: Vec<Stage>,
    everybody: Vec<Somebody>,
    decisions: Vec<Decided>,
    confirmations: Vec<(i64, i64)>,
    answers: Vec<Answered>,
}

#[derive(Debug, Clone)]
struct Answered {
    system: usize,
    yes: bool,
    /// Times at which the system gave this answer first, and last.
    since: i64,
    at: i64,
    stale: bool,
}

#[derive(Debug, Clone)]
struct Decided {
    /// Directory's last answer about the decider.
    by: Somebody,
    as_whom: Somebody,
    /// True if the directory knew them then, and the absent person let others decide in their
    /// place.
    known: bool,
    approves: bool,
    at: i64,
    proven: Option<i64>,
}

const OPENED: i64 = 1_000;
const SYSTEMS: [&str; 2] = ["board", "jira"];

fn at(seconds: i64) -> Time {
    after(Time::UNIX_EPOCH, TimeDelta::seconds(seconds))
}

fn system(number: usize) -> ApproverName {
    ApproverName::new(SYSTEMS[number]).unwrap()
}

fn proven(seconds: i64) -> Proven {
    Proven { factor: FactorName::new("totp").unwrap(), at: at(seconds), details: BTreeMap::new() }
}

impl Judge {
    fn is_party(&self, one: &Decided) -> bool {
        one.by.is_party() || one.as_whom.is_party()
    }

    /// Checks whether the directory lets the decision count.
    fn counts(&self, one: &Decided) -> bool {
        !self.is_party(one) && one.known
    }

    fn escalated(&self, one: &Decided, stage: usize, reached: i64) -> bool {
        self.stages[stage].escalate.as_ref().is_some_and(|escalate| {
            one.as_whom.groups.iter().any(|own| group(*own) == escalate.to)
                && one.at >= reached + escalate.after.num_seconds()
        })
    }

    fn asked(&self, one: &Decided, requirement: &Requirement, stage: usize, reached: Option<i64>) -> bool {
        !self.is_party(one)
            && (one.as_whom.is_asked_by(requirement)
                || has_need(requirement) && reached.is_some_and(|reached| self.escalated(one, stage, reached)))
    }

    /// Groups decisions that share a human, directly or through others.
    fn people(&self, until: i64) -> Vec<Vec<&Decided>> {
        let yes = self.decisions.iter().filter(|one| one.approves && one.at <= until && self.counts(one));
        let mut people: Vec<Vec<&Decided>> = yes.map(|one| vec![one]).collect();
        let humans = |theirs: &[&Decided]| -> BTreeSet<usize> { theirs.iter().flat_map(|one| one.humans()).collect() };
        'again: loop {
            for first in 0..people.len() {
                for second in first + 1..people.len() {
                    if !humans(&people[first]).is_disjoint(&humans(&people[second])) {
                        let other = people.remove(second);
                        people[first].extend(other);
                        continue 'again;
                    }
                }
            }
            return people;
        }
    }

    /// Checks whether the people can meet all requirements, each person one. Tries everything.
    fn given(&self, left: &[(usize, Requirement)], people: &[Vec<&Decided>], reached: &[i64]) -> bool {
        let Some(((stage, first), rest)) = left.split_first() else { return true };
        let then = |requirement: Requirement| [&[(*stage, requirement)], rest].concat();
        match first {
            Requirement::Group { quorum: 0, .. } => self.given(rest, people, reached),
            Requirement::Any(options) => {
                options.iter().any(|option| self.given(&then(option.clone()), people, reached))
            }
            one => (0..people.len()).any(|place| {
                let mfa = self.stages[*stage].mfa.as_ref().filter(|mfa| mfa.of == MfaOf::Approver);
                let fits = people[place].iter().any(|decided| {
                    let proves = mfa.is_none_or(|mfa| {
                        decided.proven.is_some_and(|proven| decided.at - proven <= mfa.within.num_seconds())
                    });
                    proves && self.asked(decided, one, *stage, reached.get(*stage).copied())
                });
                if !fits {
                    return false;
                }
                let others: Vec<Vec<&Decided>> = people
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != place)
                    .map(|(_, one)| one.clone())
                    .collect();
                match one {
                    Requirement::Group { group, quorum } => self.given(
                        &then(Requirement::Group { group: group.clone(), quorum: quorum - 1 }),
                        &others,
                        reached,
                    ),
                    _ => self.given(rest, &others, reached),
                }
            }),
        }
    }

    fn is_met(&self, stage: usize, reached: &[i64], until: i64) -> bool {
        let here = &self.stages[stage];
        let outside = here.outside.iter().all(|asked| {
            let yes = |one: &Answered| one.yes && !one.stale && one.since <= until;
            self.answers.iter().any(|one| system(one.system) == asked.approver && yes(one))
        });
        let confirmed = self.own_factor(stage).is_none_or(|within| self.is_confirmed(within, reached[stage], until));
        let all: Vec<(usize, Requirement)> = (0..=stage)
            .flat_map(|stage| self.stages[stage].people.iter().map(move |one| (stage, one.clone())))
            .collect();
        outside && confirmed && self.given(&all, &self.people(until), reached)
    }

    /// Returns the highest age of the requester's second factor, if the stage demands one.
    fn own_factor(&self, stage: usize) -> Option<i64> {
        let mfa = self.stages[stage].mfa.as_ref().filter(|mfa| mfa.of == MfaOf::Requester);
        mfa.map(|mfa| mfa.within.num_seconds())
    }

    fn is_confirmed(&self, within: i64, reached: i64, until: i64) -> bool {
        let fresh = |(given, proven): &(i64, i64)| *given <= until && (*given).max(reached) - proven <= within;
        self.confirmations.iter().any(fresh)
    }

    /// Returns the same for the first stage from this one on that lacks it. A factor that was fresh
    /// when given counts for a stage not reached yet.
    fn demands(&self, waiting: usize, reached: &[i64]) -> Option<i64> {
        (waiting..self.stages.len()).find_map(|stage| {
            let reached = reached.get(stage).copied().unwrap_or(OPENED);
            self.own_factor(stage).filter(|within| !self.is_confirmed(*within, reached, i64::MAX))
        })
    }

    /// Returns the present state, and the time at which each stage so far was reached.
    fn state(&self, now: i64) -> (ApprovalState, Vec<i64>) {
        let mut reached = vec![OPENED];
        let mut state = ApprovalState::Satisfied;
        for stage in 0..self.stages.len() {
            // the first second at which it was met
            match (reached[stage]..=now).find(|until| self.is_met(stage, &reached, *until)) {
                Some(met) => reached.push(met),
                None => {
                    state = ApprovalState::Waiting { stage };
                    break;
                }
            }
        }
        let asked_ever = |one: &Decided| {
            let stages = self.stages.iter().enumerate();
            stages.flat_map(|(stage, here)| here.people.iter().map(move |asked| (stage, asked))).any(
                |(stage, asked)| {
                    // an approver by escalation was asked once the stage had waited long enough
                    let reached = reached.get(stage).copied().filter(|reached| *reached <= one.at);
                    self.asked(one, asked, stage, reached)
                },
            )
        };
        let no = self.decisions.iter().any(|one| !one.approves && self.counts(one) && asked_ever(one));
        let outside_no = self.answers.iter().any(|one| {
            !one.yes
                && self.stages.iter().flat_map(|stage| &stage.outside).any(|asked| asked.approver == system(one.system))
        });
        (if no || outside_no { ApprovalState::Refused } else { state }, reached)
    }

    /// Changes the answers of the directory from now on.
    fn change(&mut self, everybody: Vec<Somebody>, known: &[bool], away: &[bool]) -> Vec<Fresh> {
        let mut fresh = Vec::new();
        for one in &mut self.decisions {
            let (by, as_whom) = (one.by.name, one.as_whom.name);
            let instead = by != as_whom;
            one.known = known[by] && (!instead || known[as_whom] && away[as_whom]);
            if known[by] {
                let in_place_of = (instead && one.known).then(|| everybody[as_whom].snapshot());
                fresh.push(Fresh { by: name(by), snapshot: everybody[by].snapshot(), in_place_of });
            }
            if one.known {
                (one.by, one.as_whom) = (everybody[by].clone(), everybody[as_whom].clone());
            }
        }
        self.everybody = everybody;
        fresh
    }
}

impl Decided {
    fn humans(&self) -> [usize; 2] {
        [self.by.human, self.as_whom.human]
    }

    fn decision(&self) -> Decision {
        let verdict = if self.approves { Verdict::Approve } else { Verdict::Deny };
        let instead = self.by.name != self.as_whom.name;
        let away = instead.then(|| InPlaceOf { who: name(self.as_whom.name), snapshot: self.as_whom.snapshot() });
        let proven = self.proven.map(proven);
        Decision { at: at(self.at), proven, in_place_of: away, ..self.by.decides(verdict) }
    }
}

/// Checks whether the requirement needs anybody at all. Nobody meets an empty `any`, with or
/// without escalation.
fn has_need(requirement: &Requirement) -> bool {
    match requirement {
        Requirement::Any(options) => options.iter().any(has_need),
        Requirement::Group { quorum, .. } => *quorum > 0,
        Requirement::ManagerOf(_) | Requirement::Person(_) => true,
    }
}

fn stage() -> impl Strategy<Value = Stage> {
    let mfa = prop_oneof![3 => Just(None), 2 => (any::<bool>(), prop_oneof![Just(5_i64), Just(40)]).prop_map(|(requester, within)| {
        let of = if requester { MfaOf::Requester } else { MfaOf::Approver };
        Some(Mfa { of, within: TimeDelta::seconds(within), factor: None })
    })];
    let outside = prop_oneof![3 => Just(Vec::new()), 1 => (0..SYSTEMS.len()).prop_map(|number| vec![Outside { approver: system(number), again: number == 1 }])];
    let escalate = prop_oneof![2 => Just(None), 1 => (0..20_i64).prop_map(|after| Some(Escalation { after: TimeDelta::seconds(after), to: group(2) }))];
    let people = proptest::collection::vec(requirement(), 0..3);
    (people, mfa, outside, escalate).prop_map(|(people, mfa, outside, escalate)| Stage {
        people,
        mfa,
        outside,
        escalate,
    })
}

fn act() -> impl Strategy<Value = (i64, Act)> {
    let age = || prop_oneof![3 => Just(0_i64), 1 => 0..60_i64];
    let away = prop_oneof![4 => Just(None), 1 => (0..NAMES).prop_map(Some)];
    let decide = (0..NAMES, proptest::bool::weighted(0.95), away, proptest::option::weighted(0.7, age()))
        .prop_map(|(who, approves, in_place_of, proven)| Act::Decide { who, approves, in_place_of, proven });
    let flags = || proptest::collection::vec(proptest::bool::weighted(0.85), NAMES);
    let act = prop_oneof![
        12 => decide,
        3 => (prop_oneof![4 => Just(REQUESTER), 1 => 0..NAMES], age()).prop_map(|(who, age)| Act::Confirm { who, age }),
        3 => (0..SYSTEMS.len(), proptest::bool::weighted(0.9)).prop_map(|(system, yes)| Act::Answer { system, yes }),
        2 => Just(Act::Begin),
        1 => (everybody(), flags(), flags()).prop_map(|(everybody, known, away)| Act::Change { everybody, known, away }),
    ];
    (prop_oneof![6 => 0..12_i64, 1 => 50..90_i64], act)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn law_08_whatever_is_said_in_whatever_order_it_stands_as_the_judge_says(
        stages in proptest::collection::vec(stage(), 0..4), everybody in everybody(), acts in proptest::collection::vec(act(), 0..20),
    ) {
        let access: AccessId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let parties = Parties { requester: name(REQUESTER), grantee: name(GRANTEE) };
        let mut approval = Approval::new(access, parties, plan(stages.clone()), at(OPENED));
        let mut judge = Judge {
            stages, everybody, decisions: Vec::new(), confirmations: Vec::new(), answers: Vec::new(),
        };
        let mut now = OPENED;
        for (later, act) in acts {
            now += later;
            let (before, reached) = judge.state(now);
            match act {
                Act::Decide { who, approves, in_place_of, proven } => {
                    let [by, as_whom] = [who, in_place_of.unwrap_or(who)].map(|who| judge.everybody[who].clone());
                    let proven = proven.map(|age| now - age);
                    let one = Decided { by, as_whom, known: true, approves, at: now, proven };
                    let answer = approval.decide(one.decision());
                    prop_assert_eq!(&approval.decide(one.decision()), &answer, "spurious and repeated");
                    let names = |one: &Decided| [one.by.name, one.as_whom.name];
                    let shares = |earlier: &Decided| {
                        earlier.humans().iter().any(|human| one.humans().contains(human))
                            || names(earlier).iter().any(|name| names(&one).contains(name))
                    };
                    let again = judge.decisions.iter().any(shares);
                    let here = |stage: usize| judge.stages[stage].people.iter().any(|asked| {
                        judge.asked(&one, asked, stage, reached.get(stage).copied())
                    });
                    match (answer, before) {
                        (Ok(next), ApprovalState::Waiting { .. }) => {
                            prop_assert!(!judge.is_party(&one) && !again);
                            prop_assert!((0..judge.stages.len()).any(here));
                            approval = next;
                            judge.decisions.push(one);
                        }
                        (Ok(_), _) => prop_assert!(false, "there was nothing to decide"),
                        (Err(refused), ApprovalState::Waiting { stage }) => {
                            // a person who is asked now, with a fresh factor if one is demanded, is
                            // accepted
                            let mfa = judge.stages[stage].mfa.as_ref().filter(|mfa| mfa.of == MfaOf::Approver);
                            let proves = !approves || mfa.is_none_or(|mfa| {
                                one.proven.is_some_and(|proven| now - proven <= mfa.within.num_seconds())
                            });
                            prop_assert!(judge.is_party(&one) || again || !here(stage) || !proves, "{refused}");
                        }
                        (Err(refused), _) => prop_assert_eq!(refused, DecisionRefused::Closed),
                    }
                }
                Act::Confirm { who, age } => {
                    let confirmation = Confirmation { question: approval.question(), by: name(who), at: at(now), proven: proven(now - age) };
                    match (approval.confirm(confirmation), before) {
                        (Ok(next), ApprovalState::Waiting { stage }) => {
                            prop_assert!(who == REQUESTER && judge.demands(stage, &reached).is_some());
                            approval = next;
                            judge.confirmations.push((now, now - age));
                        }
                        (Ok(_), _) => prop_assert!(false, "there was nothing to confirm"),
                        (Err(refused), ApprovalState::Waiting { stage }) => {
                            // the requester's factor is accepted as soon as any remaining stage
                            // demands it, if it is fresh
                            let demanded = judge.demands(stage, &reached);
                            let fresh = demanded.is_none_or(|within| age <= within);
                            prop_assert!(who != REQUESTER || demanded.is_none() || !fresh, "{refused}");
                        }
                        (Err(refused), _) => prop_assert_eq!(refused, DecisionRefused::Closed),
                    }
                }
                Act::Answer { system: number, yes } => {
                    let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
                    let (note, details) = (String::new(), BTreeMap::new());
                    let question = approval.question();
                    let answer = Answer { question, approver: system(number), verdict, at: at(now), note, details };
                    if let Ok(next) = approval.answer(answer) {
                        approval = next;
                        let earlier = judge.answers.iter().position(|one| one.system == number);
                        let earlier = earlier.map(|place| judge.answers.remove(place)).filter(|one| one.yes);
                        let since = earlier.map_or(now, |one| one.since);
                        judge.answers.push(Answered { system: number, yes, since, at: now, stale: false });
                    }
                }
                Act::Begin => {
                    let again = judge.stages.iter().flat_map(|stage| &stage.outside).any(|asked| asked.again);
                    for one in judge.answers.iter_mut().filter(|one| again && one.system == 1) {
                        one.stale |= now - one.at > 60;
                    }
                    approval = approval.without_stale(at(now));
                }
                Act::Change { everybody, known, away } => {
                    let fresh = judge.change(everybody, &known, &away);
                    approval = approval.ruled_again(approval.plan().clone(), &fresh, other());
                }
            }
            let (expected, _) = judge.state(now);
            prop_assert_eq!(approval.state(), expected);
            prop_assert_eq!(approval.witness().is_some(), expected == ApprovalState::Satisfied);
            prop_assert_eq!(approval.pending_on().is_empty(), !waits(expected));
            // a stored approval loads unchanged, with the same state
            let stored = serde_json::to_value(&approval).unwrap();
            prop_assert_eq!(serde_json::from_value::<Approval>(stored).unwrap(), approval.clone());
        }
    }
}
