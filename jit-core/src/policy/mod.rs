//! Policy: who may ask for which role, and what a request needs before it is granted.
//!
//! Deny by default.

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
use crate::id::{ApproverName, FactorName, Group, NotifierName, Principal, RoleName, RuleName, TargetName};

/// Longest time of an access from its activation, extensions included, whatever policy says (law
/// 2).
pub const CEILING: TimeDelta = TimeDelta::hours(24);

/// Turns a question into a ruling.
///
/// A policy is pure: the same question has the same answer, and nothing is fetched. A panic is no
/// answer, and no answer denies: the work that waits for it is tried again.
pub trait Policy: Debug + Send + Sync + 'static {
    /// Rules on the question: returns the plan to meet, or the reason of a denial.
    fn rule(&self, question: &Question<'_>) -> Ruling;

    /// Checks whether the person may do this (law 16). Deny by default.
    fn may(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool;

    /// Returns the groups that any answer could depend on. The engine asks the directory for them.
    fn groups(&self) -> BTreeSet<Group>;

    /// Returns the roles that policy makes requestable on the target, for reconciliation.
    fn requestable(&self, target: &TargetName) -> BTreeSet<RoleName>;

    /// Checks whether a rule for the target makes roles usable at once (`activation = "default"`).
    /// If one does, `jit doctor` fails on a target that cannot do so.
    fn activates(&self, target: &TargetName) -> bool {
        let _ = target;
        true
    }

    /// Returns the hash of what the policy says, hexadecimal SHA-256.
    fn hash(&self) -> String;

    /// Explains the question for `policy explain`: the rules in their order, with what each one
    /// said.
    fn explain(&self, question: &Question<'_>) -> Vec<Explained>;

    /// Returns the names that the policy mentions. An engine that lacks any of them does not take
    /// the policy.
    fn mentions(&self) -> Mentions {
        Mentions::default()
    }

    /// Checks whether every answer comes at once.
    ///
    /// If so, the engine asks the policy on the calling thread. Otherwise it asks on a separate
    /// thread and gives up after 2 s. Return true only if the policy never waits, locks or loops.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Returns the directory that came with the policy, if there is one.
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        None
    }
}

/// Question that policy answers.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Target of the request.
    pub target: &'a TargetName,
    /// Role that is requested.
    pub role: &'a RoleName,
    /// Account that asks (the requester), with their groups.
    pub requester: &'a Person,
    /// Account that gets the role (the grantee), with their groups.
    pub grantee: &'a Person,
    /// Requested duration of the role.
    pub duration: TimeDelta,
    /// Reason that the requester gave.
    pub reason: &'a str,
    /// Ticket that the request names, if any.
    pub ticket: Option<&'a str>,
    /// Start that was asked for, UTC; `None` means at once.
    pub start: Option<Time>,
    /// Time of the request (the store's time), UTC.
    pub asked_at: Time,
    /// True if the request is an emergency.
    pub break_glass: bool,
    /// True if the requester or the grantee has another emergency that nobody has reviewed yet.
    pub owes_review: bool,
}

/// Names that a policy mentions and that the embedding service has to provide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Notifiers that notices go to.
    pub notifiers: BTreeSet<NotifierName>,
    /// Outside systems that decide.
    pub approvers: BTreeSet<ApproverName>,
    /// People whom rules name one by one. Nobody takes part under a name that looks like one of
    /// them.
    pub people: BTreeSet<Principal>,
    /// Second factors that are demanded by name.
    pub factors: BTreeSet<FactorName>,
    /// True if the policy demands any second factor, of whatever kind.
    pub any_factor: bool,
}

impl Mentions {
    /// Adds the names that a plan mentions.
    pub fn of_plan(&mut self, plan: &Plan) {
        self.notifiers.extend(plan.notify.iter().cloned());
        for stage in &plan.stages {
            self.approvers.extend(stage.outside.iter().map(|asked| asked.approver.clone()));
            self.factors.extend(stage.mfa.iter().filter_map(|mfa| mfa.factor.clone()));
            self.any_factor |= stage.mfa.is_some();
        }
    }
}

/// Answer of the policy to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Answer of one rule to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Name of the rule.
    pub rule: RuleName,
    /// True for the rule that decided.
    pub decided: bool,
    /// Reason why the rule did not match, or what it demands.
    pub why: String,
}

/// Action that only some people may take, by `[[may]]` rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ends a live access of somebody else.
    Revoke,
    /// Stops everything that matches.
    Stop,
    /// Lifts a stop.
    Resume,
    /// Compares a target with the store, and enforces.
    Reconcile,
    /// Writes a target off, or confirms a changed realm.
    Retire,
    /// Accepts a clock that went back.
    Clock,
    /// Reads the whole log.
    Audit,
    /// Removes somebody's second factor.
    Mfa,
}

impl Action {
    /// List of every action.
    pub const ALL: [Self; 8] =
        [Self::Revoke, Self::Stop, Self::Resume, Self::Reconcile, Self::Retire, Self::Clock, Self::Audit, Self::Mfa];

    /// Returns the name that policies use for this action.
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

/// Treatment of open sessions at the end of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sessions {
    /// All sessions of the account end.
    End,
    /// The sessions are left alone, and the audit entry says so.
    Keep,
}

/// Way in which a role becomes usable on engines that have default roles (MySQL, MariaDB). Other
/// engines ignore it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The user runs `SET ROLE` in each session.
    Session,
    /// The role becomes a default role, so new sessions have it at once. At the end, the former
    /// defaults are restored.
    #[default]
    Default,
}

/// Demand for a dead man's switch: the database itself takes the role away when no node is alive to
/// do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadMansSwitchPolicy {
    /// The switch is used where the target has one.
    #[default]
    WhenPossible,
    /// Nothing is granted without the switch.
    Required,
    /// The switch is never used.
    Off,
}

/// Treatment of leftovers: what the account or the role came to own, and what was passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftovers {
    /// Leftovers are reported, as far as the database shows them.
    #[default]
    Report,
    /// Leftovers are not looked for.
    Off,
}

/// Stance of a rule on something risky that needs acceptance by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stance {
    /// The risk is refused.
    Refused,
    /// The rule accepts the risk.
    Accepted,
}

/// Treatment of the account's prepared transactions at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepared {
    /// They are reported, and the end stays unverified while one is there.
    Report,
    /// They are rolled back.
    Rollback,
}
