//! Plans of policy, the people who may say yes, and the machine that tells if a plan is met. Pure.

mod decision;
mod machine;
mod pending_on;
mod people;
mod plan;
mod quorum;
#[cfg(test)]
mod tests;

pub use decision::{Answer, Confirmation, Decision, Fresh, InPlaceOf, Proven, Verdict};
pub use machine::{Approval, ApprovalState, DecisionRefused, Witness};
pub use people::{Parties, Snapshot};
pub use plan::{
    BreakGlass, Escalation, Handling, Limits, Mfa, MfaOf, Outside, Party as RequirementParty, Plan, Requirement, Stage,
    TooManyWays, Who,
};

pub(crate) use plan::{DECIDE_BY, GRANT_WITHIN, Need};
pub(crate) use quorum::{matching, ways};
