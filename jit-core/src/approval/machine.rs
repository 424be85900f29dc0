//! The approval machine: a plan, who decided what, and what follows. What follows is never stored: it is computed from plan and
//! decisions each time, so a forged conclusion cannot be loaded.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::people::{Decision, Parties, Snapshot, Verdict};
use super::plan::Plan;
use super::quorum::{self, best, entitled, ways};
use crate::id::{AccessId, Principal};

/// Proof that the approval of one access is satisfied. Only [`Approval::witness`] makes one (law 1); it can neither be stored nor
/// loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    access: AccessId,
}

impl Witness {
    /// Whose approval it proves.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }
}

/// A plan and the decisions made under it. One that no decisions could have led to does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Approval {
    access: AccessId,
    parties: Parties,
    plan: Plan,
    decisions: Vec<Decision>,
    /// Deciders of whom the directory said nothing when it was last asked: a plan may name them, and still they do not count.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unknown: BTreeSet<Principal>,
}

/// An approval as it was stored, before it is believed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    access: AccessId,
    parties: Parties,
    plan: Plan,
    decisions: Vec<Decision>,
    #[serde(default)]
    unknown: BTreeSet<Principal>,
}

impl TryFrom<Stored> for Approval {
    type Error = Forged;

    fn try_from(stored: Stored) -> Result<Self, Forged> {
        let Stored { access, parties, plan, decisions, unknown } = stored;
        let mut deciders = BTreeSet::new();
        let possible = decisions.iter().all(|decision| {
            decision.by != parties.requester && decision.by != parties.receiver && deciders.insert(&decision.by)
        });
        if !possible {
            return Err(Forged);
        }
        Ok(Self { access, parties, plan, decisions, unknown })
    }
}

/// A stored approval with a decision that cannot have been made.
#[derive(Debug, thiserror::Error)]
#[error("the stored approval has a decision by one of its parties, or two by one person: it was altered")]
struct Forged;

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// This stage (from 0) is not met yet.
    Waiting {
        /// Which.
        stage: usize,
    },
    /// Every stage is met.
    Satisfied,
    /// Somebody entitled said no.
    Refused,
}

/// Why a decision does not count. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecisionRefused {
    /// The decider is the requester or the receiver, under whatever name (law 8).
    #[error("nobody decides on his own request: somebody else has to")]
    OwnRequest,
    /// The human behind the decider has decided already (law 8).
    #[error("this person has decided already, under this name or another")]
    DecidedAlready,
    /// The plan does not ask the decider.
    #[error("this person is not among those who may decide here")]
    NotEntitled,
    /// The plan asks the decider in a later stage.
    #[error("this person is asked in a later stage: an earlier one is not met yet")]
    NotYet,
    /// There is nothing left to decide.
    #[error("there is nothing left to decide")]
    Closed,
}

impl Approval {
    /// An approval that nobody has decided on yet. A plan without stages is satisfied at once.
    #[must_use]
    pub fn new(access: AccessId, parties: Parties, plan: Plan) -> Self {
        Self { access, parties, plan, decisions: Vec::new(), unknown: BTreeSet::new() }
    }

    /// What is demanded.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who decided what, in the order of their decisions.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Whose approval it is.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// Which access it is about.
    #[must_use]
    pub fn access(&self) -> AccessId {
        self.access
    }

    /// Where it stands: computed from plan and decisions.
    #[must_use]
    pub fn state(&self) -> ApprovalState {
        if self.decisions.iter().any(|decision| decision.verdict == Verdict::Deny && self.counts(decision)) {
            return ApprovalState::Refused;
        }
        let yes = self.yes();
        for stage in 0..self.plan.stages.len() {
            let reached = self.plan.stages.get(..=stage).unwrap_or_default();
            let met = ways(reached).is_ok_and(|ways| best(&ways, &yes).is_met());
            if !met {
                return ApprovalState::Waiting { stage };
            }
        }
        ApprovalState::Satisfied
    }

    /// The proof, once satisfied.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        (self.state() == ApprovalState::Satisfied).then_some(Witness { access: self.access })
    }

    /// Adds a decision.
    ///
    /// # Errors
    /// [`DecisionRefused`] says why it does not count; nothing was changed.
    pub fn decide(&self, decision: Decision) -> Result<Self, DecisionRefused> {
        let ApprovalState::Waiting { stage } = self.state() else {
            return Err(DecisionRefused::Closed);
        };
        if self.is_party(&decision) {
            return Err(DecisionRefused::OwnRequest);
        }
        if self.decisions.iter().any(|earlier| earlier.snapshot.human == decision.snapshot.human) {
            return Err(DecisionRefused::DecidedAlready);
        }
        let asked_now = self.asks(&decision, stage);
        let asked_ever = self.asks(&decision, self.plan.stages.len());
        match (decision.verdict, asked_now, asked_ever) {
            (_, _, false) => Err(DecisionRefused::NotEntitled),
            (Verdict::Approve, false, true) => Err(DecisionRefused::NotYet),
            (Verdict::Approve, true, true) | (Verdict::Deny, _, true) => {
                let mut next = self.clone();
                next.decisions.push(decision);
                Ok(next)
            }
        }
    }

    /// The same decisions under a plan ruled anew, each decider with what the directory says of him now. Who is no longer entitled
    /// no longer counts (law 8); his decision stays on record. A person without a fresh snapshot does not count.
    #[must_use]
    pub fn ruled_again(&self, plan: Plan, fresh: &[(Principal, Snapshot)]) -> Self {
        let mut unknown = BTreeSet::new();
        let mut decisions = self.decisions.clone();
        for decision in &mut decisions {
            match fresh.iter().find(|(who, _)| *who == decision.by) {
                Some((_, snapshot)) => decision.snapshot = snapshot.clone(),
                None => {
                    unknown.insert(decision.by.clone());
                }
            }
        }
        Self { access: self.access, parties: self.parties.clone(), plan, decisions, unknown }
    }

    /// What is still missing, for people to read: one line per unmet requirement of the stage that waits.
    #[must_use]
    pub fn awaits(&self) -> Vec<String> {
        let ApprovalState::Waiting { stage } = self.state() else {
            return Vec::new();
        };
        let yes = self.yes();
        let mut missing = Vec::new();
        let mut reached: Vec<super::plan::Stage> = self.plan.stages.get(..stage).unwrap_or_default().to_vec();
        let Some(current) = self.plan.stages.get(stage) else {
            return missing;
        };
        reached.push(super::plan::Stage::default());
        for requirement in &current.people {
            if let Some(last) = reached.last_mut() {
                last.people.push(requirement.clone());
            }
            let Ok(ways) = ways(&reached) else {
                missing.push(requirement.describe());
                continue;
            };
            let matched = best(&ways, &yes);
            if !matched.is_met() {
                missing.push(describe_missing(requirement, matched));
                // what is missing is said once: the next requirement is judged as if this one were met
                if let Some(last) = reached.last_mut() {
                    last.people.pop();
                }
            }
        }
        missing
    }

    /// Decisions that say yes and count, one of each human.
    fn yes(&self) -> Vec<&Decision> {
        let mut humans = BTreeSet::new();
        let yes = |decision: &&Decision| decision.verdict == Verdict::Approve && self.counts(decision);
        self.decisions.iter().filter(yes).filter(|decision| humans.insert(&decision.snapshot.human)).collect()
    }

    /// Whether the decider is the requester or the receiver, by name or by human.
    fn is_party(&self, decision: &Decision) -> bool {
        let names = [&self.parties.requester, &self.parties.receiver];
        decision.snapshot.is_party() || names.contains(&&decision.by)
    }

    /// Whether the plan asks this decider for anything at all, as far as the directory knows him still.
    fn counts(&self, decision: &Decision) -> bool {
        !self.is_party(decision) && !self.unknown.contains(&decision.by) && self.asks(decision, self.plan.stages.len())
    }

    /// Whether a stage up to this one asks the decider.
    fn asks(&self, decision: &Decision, stage: usize) -> bool {
        let until = stage.saturating_add(1).min(self.plan.stages.len());
        let stages = self.plan.stages.get(..until).unwrap_or_default();
        stages
            .iter()
            .flat_map(|stage| &stage.people)
            .filter_map(|requirement| requirement.ways().ok())
            .flatten()
            .flatten()
            .any(|who| entitled(&who, decision))
    }
}

fn describe_missing(requirement: &super::plan::Requirement, matched: quorum::Matched) -> String {
    use super::plan::Requirement;
    match requirement {
        Requirement::Group { group, quorum } if *quorum > 1 => {
            let left = matched.needed.saturating_sub(matched.found);
            format!("{left} more of group `{group}` ({quorum} needed)")
        }
        _ => requirement.describe(),
    }
}
