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

/// Deadline for one call of an approver that sets no limit of its own.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// An outside system that decides. It fails closed: an error, a timeout or an unreadable answer is
/// not a yes. The system is then asked again until the request lapses, and the log gives the
/// reason.
///
/// ```
/// use async_trait::async_trait;
/// use jit_core::approver::{Approver, ApproverError, Explanation, Reply, Review};
/// use jit_core::clock::{Clock, SystemClock, Time};
///
/// /// Holds every request back until a change freeze is over.
/// #[derive(Debug)]
/// struct ChangeFreeze {
///     until: Time,
/// }
///
/// #[async_trait]
/// impl Approver for ChangeFreeze {
///     async fn review(&self, _: &Review) -> Result<Reply, ApproverError> {
///         if SystemClock.wall() < self.until {
///             return Ok(Reply::Wait(self.until));
///         }
///         Ok(Reply::Approve(Explanation::new("no change freeze")))
///     }
/// }
///
/// // a rule asks it by this name
/// let freeze = ChangeFreeze { until: Time::UNIX_EPOCH };
/// let builder = jit_core::Jit::builder().approver("freeze", freeze);
/// ```
#[async_trait]
pub trait Approver: Debug + Send + Sync + 'static {
    /// Asks the outside system. It may see the same review again if an answer was lost;
    /// [`Review::id`] stays the same.
    ///
    /// # Errors
    /// [`ApproverError`] if there is no answer.
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError>;

    /// Checks a later answer: the signature must be the approver's own and cover this review. The
    /// engine checks that the answer is in time and the first.
    ///
    /// # Errors
    /// [`CallbackRefused`] if the answer cannot be believed.
    fn answered(&self, review: &Review, callback: &Callback, now: Time) -> Result<Reply, CallbackRefused> {
        let _ = (review, callback, now);
        Err(CallbackRefused::NotTaken)
    }
}

/// The question that an outside system is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Review {
    /// Id that stays the same however often the system is asked.
    pub id: String,
    /// Tenant that owns the access.
    pub tenant: TenantId,
    /// Access that the review is about.
    pub access: AccessId,
    /// Outside system that is asked.
    pub approver: ApproverName,
    /// Target of the request.
    pub target: TargetName,
    /// Role that is requested.
    pub role: RoleName,
    /// Principal who asked for the role.
    pub requester: Principal,
    /// Principal who gets the role.
    pub grantee: Principal,
    /// Account of the grantee on the target.
    pub account: Account,
    /// Requested duration; for an extension, the additional time.
    pub duration: TimeDelta,
    /// Start of the window, UTC; none if it begins at once.
    pub start: Option<Time>,
    /// Reason for the request.
    pub reason: String,
    /// Ticket of the request.
    pub ticket: Option<String>,
    /// Rule that asks the system.
    pub rule: RuleName,
    /// Hash of the policy that contains the rule.
    pub policy: String,
    /// True if the request is for more time in an open window.
    pub extension: bool,
    /// Token in the callback address that names this review. It is unguessable and valid once.
    pub token: String,
    /// Deadline of the answer, UTC.
    pub until: Time,
}

/// Answer of an outside system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The system says yes.
    Approve(Explanation),
    /// The system says no, which ends the request.
    Deny(Explanation),
    /// The system has no answer yet. It calls back, or is asked again at this time, UTC.
    Wait(Time),
}

/// Words and grounds of an answer. They carry no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// Note in the system's own words.
    pub note: String,
    /// Details of the answer, for the log.
    pub details: BTreeMap<String, String>,
}

impl Explanation {
    /// Creates an answer of this note, without details.
    #[must_use]
    pub fn new(note: impl Into<String>) -> Self {
        Self { note: note.into(), details: BTreeMap::new() }
    }

    /// Adds a detail for the log.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }
}

/// An answer that arrives after the call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Callback {
    /// Token from the address of the review.
    pub token: String,
    /// Headers of the callback, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Body of the callback.
    pub body: Vec<u8>,
}

impl Callback {
    /// Creates the callback of this token and body, without headers.
    #[must_use]
    pub fn new(token: impl Into<String>, body: Vec<u8>) -> Self {
        Self { token: token.into(), headers: BTreeMap::new(), body }
    }

    /// Adds a header; its name is written in lower case.
    #[must_use]
    pub fn header(self, name: &str, value: impl Into<String>) -> Self {
        let mut headers = self.headers;
        headers.insert(name.to_lowercase(), value.into());
        Self { headers, ..self }
    }
}

/// Reason why there is no answer. Its text reaches the log, so it carries no secret and no secret
/// URL.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct ApproverError {
    /// Description of the failure.
    pub why: String,
    /// Time to wait before the next call, if the system named one.
    pub retry_after: Option<TimeDelta>,
    /// Underlying error of the failure.
    #[source]
    pub source: Option<BoxError>,
}

impl ApproverError {
    /// Creates an error for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None, source: None }
    }
}

/// Reason why a later answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackRefused {
    /// The approver takes no later answers.
    #[error("this approver does not accept later answers")]
    NotTaken,
    /// The signature is wrong or too old.
    #[error("its signature is not valid: {why}")]
    Signature {
        /// Description of the fault.
        why: String,
    },
    /// The signature is valid, but the answer is about another review.
    #[error("it is about another review")]
    Another,
    /// The signature is valid, but the answer cannot be understood.
    #[error("it cannot be understood: {why}")]
    Unreadable {
        /// Description of the fault.
        why: String,
    },
}
