//! Answers of a policy.

use super::approval::Plan;
use crate::id::RuleName;

/// Answer of the policy to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ruling {
    /// The request is denied.
    Denied {
        /// Rule that matched and whose limits or demands were not met; `None` if no rule matched.
        rule: Option<RuleName>,
        /// Reason of the denial, and what would be accepted.
        reason: String,
        /// Hash of the policy.
        policy: String,
    },
    /// The request is allowed once this plan is met.
    Planned(Plan),
}
