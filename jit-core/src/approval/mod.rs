//! What policy demands, who may say yes, and the machine that says when it is met. Pure.

mod machine;
mod people;
mod plan;
mod quorum;
#[cfg(test)]
mod tests;

pub use machine::{Approval, ApprovalState, DecisionRefused, Witness};
pub use people::{Actor, Decision, Evidence, Parties, Snapshot, Verdict};
pub use plan::{Handling, Limits, Plan, Requirement, Stage, Subject as RequirementSubject, TooManyWays, Who};

pub(crate) use quorum::{matching, ways};
