//! Who may ask for what, and what it takes. Deny by default.

#[cfg(feature = "cedar")]
mod cedar;
mod document;

#[cfg(feature = "cedar")]
pub use cedar::CedarPolicy;
pub use document::{PolicyDocument, PolicyError, Problem, Warning};

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::approval::Plan;
use crate::clock::Time;
use crate::directory::{Directory, Person};
use crate::id::{ApproverName, FactorName, Group, Principal, ReceiverName, RoleName, RuleName, TargetName};

/// Nothing lasts longer than this from its activation, extensions included, whatever policy says (law 2).
pub const CEILING: TimeDelta = TimeDelta::hours(24);

/// Turns a question into a ruling. Pure: the same question has the same answer, and nothing is fetched. A panic is no answer, and no answer is
/// a no: what waits for it is tried again.
pub trait Policy: Debug + Send + Sync + 'static {
    /// What it takes, or why not.
    fn rule(&self, question: &Question<'_>) -> Ruling;

    /// Whether the person may do this (law 16). Deny by default.
    fn may(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool;

    /// The groups that any answer could depend on: what the engine asks the directory for.
    fn groups(&self) -> BTreeSet<Group>;

    /// The roles that policy makes requestable on the target, for reconciliation.
    fn requestable(&self, target: &TargetName) -> BTreeSet<RoleName>;

    /// Whether a rule for the target makes roles usable at once (`activation = "default"`). Where
    /// one does, `jit doctor` fails on a target that cannot do so.
    fn activates(&self, target: &TargetName) -> bool {
        let _ = target;
        true
    }

    /// Hash of what it says, hexadecimal SHA-256.
    fn hash(&self) -> String;

    /// The rules in their order with what each said to the question, for `policy explain`.
    fn explain(&self, question: &Question<'_>) -> Vec<Explained>;

    /// What it mentions by name: an engine that lacks any of it does not take the policy.
    fn mentions(&self) -> Mentions {
        Mentions::default()
    }

    /// Whether every answer comes at once. Then it is asked right where it is needed; else on a thread of its own, and given up after 2 s.
    /// Only what never waits, locks or loops may say so.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// The directory that came with it, where it has one.
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        None
    }
}

/// What is asked of policy.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// On which target.
    pub target: &'a TargetName,
    /// Which role.
    pub role: &'a RoleName,
    /// Who asks, with his groups.
    pub requester: &'a Person,
    /// Who gets the role, with his groups.
    pub receiver: &'a Person,
    /// For how long.
    pub duration: TimeDelta,
    /// Why.
    pub reason: &'a str,
    /// Under which ticket.
    pub ticket: Option<&'a str>,
    /// From when, where not at once, UTC.
    pub start: Option<Time>,
    /// When it was asked, the store's time, UTC.
    pub asked_at: Time,
    /// Whether it is an emergency.
    pub break_glass: bool,
    /// Whether the requester or who gets the role has another emergency that nobody has reviewed yet.
    pub owes_review: bool,
}

/// What a policy mentions by name and others have to bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Receivers of notices.
    pub receivers: BTreeSet<ReceiverName>,
    /// Outside systems.
    pub approvers: BTreeSet<ApproverName>,
    /// People whom rules name one by one: nobody takes part under a name that looks like one of them.
    pub people: BTreeSet<Principal>,
    /// Second factors.
    pub factors: BTreeSet<FactorName>,
    /// Whether it demands a second factor at all, of whatever kind.
    pub any_factor: bool,
}

impl Mentions {
    /// Adds what a plan mentions.
    pub fn of_plan(&mut self, plan: &Plan) {
        self.receivers.extend(plan.notify.iter().cloned());
        for stage in &plan.stages {
            self.approvers.extend(stage.outside.iter().map(|asked| asked.approver.clone()));
            self.factors.extend(stage.mfa.iter().filter_map(|mfa| mfa.factor.clone()));
            self.any_factor |= stage.mfa.is_some();
        }
    }
}

/// What policy answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// No.
    Denied {
        /// The rule that matched and whose limits or demands were not met; none where none matched.
        rule: Option<RuleName>,
        /// Why, and what would be accepted.
        reason: String,
        /// Hash of the policy.
        policy: String,
    },
    /// Yes, when this plan is met.
    Planned(Plan),
}

/// What one rule said to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Which rule.
    pub rule: RuleName,
    /// Whether it is the one that decided.
    pub decided: bool,
    /// Why it did not match, or what it demands.
    pub why: String,
}

/// What only some may do, by `[[may]]` rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// End a live access of somebody else.
    Revoke,
    /// Stop everything that matches.
    Stop,
    /// Lift a stop.
    Resume,
    /// Compare a target with the store, and enforce.
    Reconcile,
    /// Write a target off, and confirm a changed realm.
    Retire,
    /// Accept a clock that went back.
    Clock,
    /// Read the whole log.
    Audit,
    /// Take a second factor of somebody away.
    Mfa,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] =
        [Self::Revoke, Self::Stop, Self::Resume, Self::Reconcile, Self::Retire, Self::Clock, Self::Audit, Self::Mfa];

    /// As policy writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Stop => "stop",
            Self::Resume => "resume",
            Self::Reconcile => "reconcile",
            Self::Retire => "retire",
            Self::Clock => "clock",
            Self::Audit => "audit",
            Self::Mfa => "mfa",
        }
    }
}

/// Whether sessions end with the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sessions {
    /// All sessions of the account end.
    End,
    /// They are left alone; the entry says that they were.
    Keep,
}

/// How a role becomes usable where an engine has default roles (MySQL, MariaDB). Others know nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The user runs `SET ROLE` in each session.
    Session,
    /// It becomes a default role: new sessions have it at once. What was the default before is put back at the end.
    #[default]
    Default,
}

/// Whether the database itself is to take the role away when nobody of ours is alive to do it (DESIGN section 8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadMan {
    /// Where the target has a dead-man; else not.
    #[default]
    WhenPossible,
    /// Without one nothing is granted.
    Required,
    /// Never.
    Off,
}

/// Whether it is told what an access leaves behind: what the account or the role came to own, and what was passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftBehind {
    /// It is, as far as the database says.
    #[default]
    Report,
    /// It is not looked at.
    Off,
}

/// Whether something risky was accepted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stance {
    /// It is refused.
    Refused,
    /// The rule accepts it.
    Accepted,
}

/// What happens to prepared transactions of the account at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepared {
    /// They are reported, and the end stays unverified while one is there.
    Report,
    /// They are rolled back.
    Rollback,
}
