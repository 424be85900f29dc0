//! Events that an access handles, and the answers of its state machine.

use chrono::TimeDelta;

use super::{Access, AccessState};
use crate::audit_event::AuditEvent;
use crate::catalog::{Armed, Granted, Rejection};
use crate::clock::Time;
use crate::id::{Principal, QuestionId, RealmId};
use crate::model::approval::{Answer, Confirmation, Decision, DecisionRefused, Fresh, Plan, Snapshot};
use crate::model::grant::Cause;
use crate::model::proof::{Clear, VerifiedEnd};
use crate::model::ruling::Ruling;

/// Something that can happen to an access.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time passed: everything that is due for people is done (lapse, warn, alert, give up).
    Tick,
    /// A person decided on the request, or on the extension that is pending.
    Decide(Decision),
    /// The requester gave a second factor.
    Confirm(Confirmation),
    /// An outside system answered, on the request or on the extension that is pending.
    Answer(Answer),
    /// Policy and directory were asked again.
    RuleAgain {
        /// Ruling of the policy now.
        ruling: Ruling,
        /// Directory's present answer about everybody who decided.
        fresh: Vec<Fresh>,
        /// Id of the new question, used if the new plan has other terms.
        question: QuestionId,
    },
    /// Policy and directory were asked again about the extension that is pending.
    RuleExtensionAgain {
        /// Ruling of the policy on the extension now.
        ruling: Ruling,
        /// Directory's present answer about everybody who decided on the extension.
        fresh: Vec<Fresh>,
        /// Id of the new question, used if the new plan has other terms.
        question: QuestionId,
    },
    /// A person reviewed what was done in an emergency.
    Review {
        /// Person who reviewed it.
        by: Principal,
        /// Directory's answer about the reviewer.
        snapshot: Snapshot,
        /// Review in the words of the reviewer.
        note: String,
    },
    /// The requester withdrew the request before there was a grant.
    Cancel {
        /// Person who withdrew it.
        by: Principal,
        /// Reason for the withdrawal.
        why: String,
    },
    /// The broker contacted the target for the first time.
    Placed(RealmId),
    /// The membership was observed and nothing prevents the grant: this records the intent.
    BeginGrant(Clear),
    /// The account holds the role already, and not by a grant of ours (law 6).
    Standing(String),
    /// The database granted the membership.
    Granted(Granted),
    /// The database certainly did not grant it, and another try is possible.
    NotGranted {
        /// Reason for the failure.
        why: String,
        /// Time of the next try, by the store's clock, UTC.
        retry_at: Time,
    },
    /// The outcome is unknown: the database may have granted it, or may still do so.
    GrantUnknown {
        /// Reason why the outcome is unknown.
        why: String,
    },
    /// The database rejected the grant for good.
    GrantRejected {
        /// Kind of the rejection.
        rejection: Rejection,
        /// Reason that the database gave.
        why: String,
    },
    /// The earlier statement can no longer arrive, and the database holds this.
    Settled(Found),
    /// The grant has to end now.
    End {
        /// Cause of the ending.
        cause: Cause,
        /// Person who ends it; none if the system does.
        by: Option<Principal>,
        /// Reason in words.
        why: Option<String>,
    },
    /// Verification showed that nothing is held on behalf of the access.
    Ended(VerifiedEnd),
    /// The revoke failed, or could not be verified.
    EndFailed {
        /// Reason for the failure, with what blocks the revoke.
        why: String,
        /// Time of the next try, by the store's clock, UTC.
        retry_at: Time,
    },
    /// The dead man's switch is armed for a later end than before.
    SwitchArmed(Armed),
    /// The dead man's switch is missing, or differs from what it has to be.
    SwitchMissing {
        /// Description of the difference.
        why: String,
    },
    /// The dead man's switch had fired.
    SwitchFired {
        /// Time at which it fired, by the server's clock, UTC.
        fired_at: Time,
    },
    /// The membership is held again after it was revoked and verified.
    Reappeared(String),
    /// A person asks for more time.
    Extend(Extend),
    /// An operator confirmed that the server's data is in this realm now.
    Moved(RealmId),
    /// The operator retired the target for good.
    Retire {
        /// Operator who retired it.
        by: Principal,
    },
}

impl Event {
    /// Checks whether a person or an outside system answers a pending question.
    pub(crate) fn is_said(&self) -> bool {
        matches!(self, Self::Decide(_) | Self::Confirm(_) | Self::Answer(_))
    }
}

/// Request for more time, see [`Event::Extend`].
#[derive(Debug, Clone)]
pub struct Extend {
    /// Id of the question that this request asks.
    pub question: QuestionId,
    /// Person who asks for it.
    pub by: Principal,
    /// Additional time that is asked for.
    pub longer: TimeDelta,
    /// Reason for the request.
    pub reason: String,
    /// Plan that policy demands for the extension.
    pub plan: Plan,
}

/// State of the database after an earlier statement was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The membership that was to be granted is held.
    Held,
    /// No membership of ours is there.
    Absent,
    /// The account or the role is known by its name only, and that name is not found. The
    /// membership may be held under another name.
    Lost,
}

/// Result of an event that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Access after the event.
    pub access: Access,
    /// Audit events of this step. It has none if nothing happened that people have to read, such as
    /// another try or a target that was placed.
    pub audit_events: Vec<AuditEvent>,
}

/// Result of an event that was refused. Nothing changed, and the log records the refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Reason for the refusal.
    pub why: Refusal,
    /// Audit events of the refusal.
    pub audit_events: Vec<AuditEvent>,
}

/// Reason why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The decision does not count.
    #[error(transparent)]
    Decision(#[from] DecisionRefused),
    /// The event is impossible in this state.
    #[error("an access that is `{state}` cannot be {what}")]
    State {
        /// State of the access.
        state: AccessState,
        /// Action that was tried.
        what: &'static str,
    },
    /// The time to decide is over.
    #[error("nobody decided in time, and it cannot be decided on any more: ask for it again")]
    Lapsed,
    /// The answer is about a question that is closed, or was never asked (law 19).
    #[error("{}", closed(.agreed, .waits.as_ref(), *.state))]
    Question {
        /// Approvers of the question that was meant, if the access was granted on it.
        agreed: Vec<Principal>,
        /// Question that is pending now.
        waits: Option<PendingQuestion>,
        /// State of the access.
        state: AccessState,
    },
    /// Another extension is pending already.
    #[error("an extension waits for a decision already: decide on it first")]
    ExtensionWaits,
    /// The extension is longer than policy allows.
    #[error("it would last longer than its rule allows with extensions: at most `{most}` more")]
    TooLong {
        /// Longest extension that is still possible.
        most: String,
    },
    /// The duration is zero or negative.
    #[error("the duration has to be longer than zero")]
    NoTime,
}

impl Refusal {
    /// Returns a stable word for machines: `state`, `lapsed`, `question`, `extension-waits`,
    /// `too-long` or `no-time`, or the word of [`DecisionRefused::kind`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Decision(refused) => refused.kind(),
            Self::State { .. } => "state",
            Self::Lapsed => "lapsed",
            Self::Question { .. } => "question",
            Self::ExtensionWaits => "extension-waits",
            Self::TooLong { .. } => "too-long",
            Self::NoTime => "no-time",
        }
    }

    /// Checks whether the person is the reason: another one may do the same now.
    pub(crate) fn is_about_the_person(&self) -> bool {
        use DecisionRefused::{FactorNeeded, NotEntitled, OwnRequest};
        matches!(self, Self::Decision(OwnRequest | NotEntitled | FactorNeeded(_)))
    }
}

/// Question that is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingQuestion {
    /// Id of the question.
    pub question: QuestionId,
    /// Subject of the question, in words.
    pub what: String,
}

fn closed(agreed: &[Principal], waits: Option<&PendingQuestion>, state: AccessState) -> String {
    let names: Vec<String> = agreed.iter().map(|who| format!("`{who}`")).collect();
    let agreed = match names.as_slice() {
        [] => "this is not about the question that is pending".to_owned(),
        [one] => format!("{one} has agreed to that already"),
        several => format!("{} have agreed to that already", several.join(", ")),
    };
    match waits {
        Some(PendingQuestion { question, what }) => {
            format!("{agreed}: pending now is question `{question}`, {what}; look at it, and name it in the decision")
        }
        None => format!("{agreed}: the access is {state}, and nothing is left to decide"),
    }
}
