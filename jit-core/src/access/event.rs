//! What can happen to an access, and what its machine answers.

use chrono::TimeDelta;

use super::Access;
use crate::approval::{Answer, Confirmation, Decision, DecisionRefused, Fresh, Plan, Snapshot};
use crate::clock::Time;
use crate::database::{Armed, Granted, Rejection};
use crate::fact::Fact;
use crate::grant::Cause;
use crate::holding::{Clear, Verified};
use crate::id::{Principal, QuestionId, RealmId};
use crate::policy::Ruling;

/// What can happen to an access.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time passed: what is due for people is done (lapse, warn, alert, give up).
    Tick,
    /// Somebody decided, on the request or on the extension that waits.
    Decide(Decision),
    /// The requester gave a second factor.
    Confirm(Confirmation),
    /// An outside system answered, on the request or on the extension that waits.
    Answer(Answer),
    /// Policy and directory were asked again.
    RuleAgain {
        /// What policy says now.
        ruling: Ruling,
        /// What the directory says now of everybody who decided.
        fresh: Vec<Fresh>,
        /// A new question's id, for where the plan has other terms now.
        question: QuestionId,
    },
    /// Policy and directory were asked again about the extension that waits.
    RuleExtensionAgain {
        /// What policy says of it now.
        ruling: Ruling,
        /// What the directory says now of everybody who decided on it.
        fresh: Vec<Fresh>,
        /// A new question's id, for where the plan has other terms now.
        question: QuestionId,
    },
    /// Somebody reviewed what was done in an emergency.
    Review {
        /// Who.
        by: Principal,
        /// What the directory says of him.
        snapshot: Snapshot,
        /// In his words.
        note: String,
    },
    /// The requester took it back before there was a grant.
    Cancel {
        /// Who.
        by: Principal,
        /// Why.
        why: String,
    },
    /// Its target was contacted for the first time.
    Placed(RealmId),
    /// The membership was observed, and nothing stands in the way: the intent to grant it.
    BeginGrant(Clear),
    /// The membership was observed, and is held already, not by us (law 6).
    Standing(String),
    /// The database granted it.
    Granted(Granted),
    /// The database certainly did not grant it, and it may be tried again.
    NotGranted {
        /// Why.
        why: String,
        /// When to try again, the store's time, UTC.
        retry_at: Time,
    },
    /// It may have been granted, and may still be.
    GrantUnknown {
        /// Why.
        why: String,
    },
    /// The database rejected it for good.
    GrantRejected {
        /// Which way.
        rejection: Rejection,
        /// Why.
        why: String,
    },
    /// Nothing of the earlier statement can still arrive, and this is what the database holds.
    Settled(Found),
    /// It is to end now.
    End {
        /// Why.
        cause: Cause,
        /// Who wants it; nobody where the system does.
        by: Option<Principal>,
        /// In words.
        why: Option<String>,
    },
    /// It was verified that nothing is held on its behalf.
    Ended(Verified),
    /// The revoke failed, or could not be verified.
    EndFailed {
        /// Why, with what blocks it.
        why: String,
        /// When to try again, the store's time, UTC.
        retry_at: Time,
    },
    /// Its dead-man is armed, for a later end than before.
    DeadManArmed(Armed),
    /// Its dead-man is not as it should be.
    DeadManMissing {
        /// Why.
        why: String,
    },
    /// Its dead-man had fired, at this time of the server's clock, UTC.
    DeadManFired {
        /// When.
        fired_at: Time,
    },
    /// It is held again although it was verified gone.
    Reappeared(String),
    /// More time is asked for.
    Extend(Extend),
    /// Its server's data is in this realm now: an operator said so.
    Moved(RealmId),
    /// The operator wrote the target off.
    Retire {
        /// Who.
        by: Principal,
    },
}

impl Event {
    /// Whether somebody says something on what waits for people.
    pub(crate) fn is_said(&self) -> bool {
        matches!(self, Self::Decide(_) | Self::Confirm(_) | Self::Answer(_))
    }
}

/// See [`Event::Extend`].
#[derive(Debug, Clone)]
pub struct Extend {
    /// The id of the question that it is.
    pub question: QuestionId,
    /// By whom.
    pub by: Principal,
    /// How much more.
    pub longer: TimeDelta,
    /// Why.
    pub reason: String,
    /// What policy demands for it.
    pub plan: Plan,
}

/// What the database holds after an earlier statement was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// What was to be granted.
    Held,
    /// Nothing of ours.
    Absent,
    /// The account or the role is not found by its name, by which alone it is known: what was to be granted may be held under another.
    Lost,
}

/// What the machine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The access as it is now.
    pub access: Access,
    /// What happened, for the log; none where nothing did that people have to read (another try of the same, a target placed).
    pub facts: Vec<Fact>,
}

/// The event was refused; nothing was changed, and the log says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// For the log.
    pub facts: Vec<Fact>,
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A decision that does not count.
    #[error(transparent)]
    Decision(#[from] DecisionRefused),
    /// It is not in a state in which this can happen.
    #[error("an access that is `{state}` cannot be {what}")]
    State {
        /// The state.
        state: &'static str,
        /// What was tried.
        what: &'static str,
    },
    /// Nobody decided in time.
    #[error("nobody decided in time: it cannot be decided on any more, and has to be asked for again")]
    Lapsed,
    /// It was said about a question that is closed, or was never asked (law 19).
    #[error("{}", closed(.agreed, .waits.as_ref(), .state))]
    Question {
        /// Who said yes to what was meant, where it was granted on that.
        agreed: Vec<Principal>,
        /// What waits for decisions now.
        waits: Option<Waits>,
        /// The state of the access.
        state: &'static str,
    },
    /// An extension waits for a decision already.
    #[error("an extension waits for a decision already: decide on it first")]
    ExtensionWaits,
    /// More time than policy allows.
    #[error("it would last longer than its rule allows with extensions: at most `{most}` more")]
    TooLong {
        /// How much more would do.
        most: String,
    },
    /// No time at all.
    #[error("the duration has to be longer than zero")]
    NoTime,
}

/// A question that waits for decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// Which.
    pub question: QuestionId,
    /// What is asked, in words.
    pub what: String,
}

fn closed(agreed: &[Principal], waits: Option<&Waits>, state: &str) -> String {
    let names: Vec<String> = agreed.iter().map(|who| format!("`{who}`")).collect();
    let agreed = match names.as_slice() {
        [] => "this is not about what waits for a decision".to_owned(),
        [one] => format!("{one} has agreed to that already"),
        several => format!("{} have agreed to that already", several.join(", ")),
    };
    match waits {
        Some(Waits { question, what }) => format!(
            "{agreed}: what waits now is question `{question}`, {what}; look at it by `jit show`, and name it by `--question {question}`"
        ),
        None => format!("{agreed}: the access is {state}, and nothing is left to decide"),
    }
}
