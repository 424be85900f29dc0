//! Description of what an approval is pending on.

use super::machine::{Approval, ApprovalState};
use super::plan::{MfaOf, Requirement, Stage};
use super::quorum::Matched;

impl Approval {
    /// Returns what is still missing, for people to read: one line for each unmet requirement of
    /// the stage.
    #[must_use]
    pub fn pending_on(&self) -> Vec<String> {
        let (ApprovalState::Waiting { stage }, begun) = self.progress(None) else {
            return Vec::new();
        };
        let mut missing = Vec::new();
        let mut reached: Vec<Stage> = self.plan().stages.get(..stage).unwrap_or_default().to_vec();
        let Some(current) = self.plan().stages.get(stage) else {
            return missing;
        };
        if let Some(mfa) = current.mfa_of(MfaOf::Requester).filter(|_| !self.is_confirmed(stage, &begun, None)) {
            missing.push(format!("{} of `{}`", mfa.describe(), self.parties().requester));
        }
        missing.extend(self.asks_outside().iter().map(|approver| format!("the answer of `{approver}`")));
        reached.push(Stage::default());
        for requirement in &current.people {
            if let Some(last) = reached.last_mut() {
                last.people.push(requirement.clone());
            }
            let Some(matched) = self.matched_in(&reached, &begun, None) else {
                missing.push(requirement.describe());
                continue;
            };
            if !matched.is_met() {
                missing.push(describe_missing(requirement, matched));
                // each gap is named once: the next requirement is judged as if this one were met
                if let Some(last) = reached.last_mut() {
                    last.people.pop();
                }
            }
        }
        missing
    }
}

fn describe_missing(requirement: &Requirement, matched: Matched) -> String {
    match requirement {
        Requirement::Group { group, quorum } if *quorum > 1 => {
            let left = matched.needed.saturating_sub(matched.found);
            format!("{left} more of group `{group}` ({quorum} needed)")
        }
        _ => requirement.describe(),
    }
}
