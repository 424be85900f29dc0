//! Outside systems that say yes or no: trackers, workflow tools, policy engines.

#[cfg(feature = "http")]
mod opa;
#[cfg(feature = "http")]
mod ticket;
#[cfg(feature = "http")]
mod webhook;
#[cfg(feature = "http")]
mod wire;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::clock::Time;
use crate::id::{AccessId, Account, ApproverName, Principal, RoleName, RuleName, TargetName, TenantId};
use crate::store::BoxError;

#[cfg(feature = "http")]
pub use opa::Opa;
#[cfg(feature = "http")]
pub use ticket::{Condition, Test, TicketCheck, Tracker};
#[cfg(feature = "http")]
pub use webhook::WebhookApprover;

/// How long one call of an approver may take where it does not say.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// An outside system that decides. What errs, takes too long or cannot be understood is not a yes (fail closed): it is asked again until
/// the request lapses, and the log says why.
#[async_trait]
pub trait Approver: Debug + Send + Sync + 'static {
    /// Asks it. It may be asked the same again when an answer was lost: [`Review::id`] tells.
    ///
    /// # Errors
    /// [`ApproverError`] where there is no answer.
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError>;

    /// Takes an answer that came later: whether it is the approver's own and about this review, by its signature. That it is in time and
    /// the first, the engine sees to.
    ///
    /// # Errors
    /// [`CallbackRefused`] where it cannot be believed.
    fn answered(&self, review: &Review, callback: &Callback, now: Time) -> Result<Reply, CallbackRefused> {
        let _ = (review, callback, now);
        Err(CallbackRefused::NotTaken)
    }
}

/// What an outside system is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The same however often it is asked.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// About which access.
    pub access: AccessId,
    /// Who is asked.
    pub approver: ApproverName,
    /// On which target.
    pub target: TargetName,
    /// Which role.
    pub role: RoleName,
    /// Who asked.
    pub requester: Principal,
    /// Who gets the role.
    pub receiver: Principal,
    /// The receiver's account there.
    pub account: Account,
    /// For how long; of an extension, how much longer.
    pub duration: TimeDelta,
    /// From when, where not at once, UTC.
    pub start: Option<Time>,
    /// Why.
    pub reason: String,
    /// Under which ticket.
    pub ticket: Option<String>,
    /// The rule that wants to know.
    pub rule: RuleName,
    /// Hash of its policy.
    pub policy: String,
    /// Whether more time is asked for, in an open window.
    pub extension: bool,
    /// The part of a callback's address that names this review: unguessable, good once.
    pub token: String,
    /// Until when an answer is taken, UTC.
    pub until: Time,
}

/// What an outside system says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Yes.
    Approve(Said),
    /// No: it ends the request.
    Deny(Said),
    /// Not yet: it calls back, or is asked again then, UTC.
    Wait(Time),
}

/// In which words, and on what grounds; no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// In its words.
    pub note: String,
    /// More of it, for the log.
    pub details: BTreeMap<String, String>,
}

/// An answer that came later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The token of the review's address.
    pub token: String,
    /// The headers that came with it, names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer. Its words reach the log: they carry no secret, and no URL that is one.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct ApproverError {
    /// What happened.
    pub why: String,
    /// When it wants to be asked again at the earliest, if it said so.
    pub retry_after: Option<TimeDelta>,
    /// The cause.
    #[source]
    pub source: Option<BoxError>,
}

impl ApproverError {
    /// There is no answer, for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None, source: None }
    }
}

/// Why an answer that came later is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackRefused {
    /// This approver answers when it is asked, or never.
    #[error("this approver takes no later answers")]
    NotTaken,
    /// It is not signed as it should be, or too old.
    #[error("its signature is not right: {why}")]
    Signature {
        /// In which way.
        why: String,
    },
    /// It is signed, and about another review.
    #[error("it is about another review")]
    Another,
    /// It is signed and says nothing that is understood.
    #[error("it cannot be understood: {why}")]
    Unreadable {
        /// What it is not.
        why: String,
    },
}
