//! Policy: who may ask for which role, and what a request needs before it is granted.
//!
//! Deny by default.

#[cfg(feature = "cedar")]
mod cedar;
mod document;
mod limits;

#[cfg(feature = "cedar")]
pub use cedar::CedarPolicy;
pub use document::{PolicyDocument, PolicyError, Problem, Warning};
pub(crate) use limits::held;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::directory::{Directory, Person};
pub use crate::handling::{Activation, DeadMansSwitchPolicy, Leftovers, Prepared, Sessions, Stance};
use crate::id::{ApproverName, FactorName, Group, NotifierName, Principal, RoleName, RuleName, TargetName};
pub use crate::model::approval::{
    BreakGlass, Escalation, Handling, Limits, Mfa, MfaOf, Outside, Plan, Requirement, RequirementParty, Stage,
    TooManyWays, Who,
};
pub use crate::model::grant::CEILING;
pub use crate::model::ruling::Ruling;

/// Turns a question into a ruling.
///
/// A policy is pure: the same question has the same answer, and nothing is fetched. A panic is no
/// answer, and no answer denies: the work that waits for it is tried again.
///
/// A policy checks people, reasons and tickets itself. The engine holds every plan to its own
/// limits: what is longer than [`Limits::max`] is denied, and a window is cut at [`CEILING`].
///
/// ```
/// use std::collections::BTreeSet;
///
/// use jit_core::policy::Plan;
/// use jit_core::directory::Person;
/// use jit_core::id::{Group, RoleName, TargetName};
/// use jit_core::policy::{Action, Explained, Policy, Question, Ruling};
///
/// /// Allows one role for one group, on the terms of one plan.
/// #[derive(Debug)]
/// struct OneRole {
///     role: RoleName,
///     group: Group,
///     plan: Plan,
/// }
///
/// impl Policy for OneRole {
///     fn rule(&self, question: &Question<'_>) -> Ruling {
///         let people = [question.requester, question.grantee];
///         let allowed = *question.role == self.role
///             && people.iter().all(|person| person.groups.contains(&self.group))
///             && !question.break_glass;
///         if allowed {
///             return Ruling::Planned(self.plan.clone());
///         }
///         let reason = format!("only `{}` is allowed, for group `{}`", self.role, self.group);
///         Ruling::Denied { rule: None, reason, policy: self.hash() }
///     }
///
///     fn may(&self, _: Action, _: &Person, _: Option<&TargetName>) -> bool {
///         false
///     }
///
///     fn groups(&self) -> BTreeSet<Group> {
///         self.plan.groups().into_iter().chain([self.group.clone()]).collect()
///     }
///
///     fn requestable(&self, _: &TargetName) -> BTreeSet<RoleName> {
///         [self.role.clone()].into()
///     }
///
///     fn hash(&self) -> String {
///         self.plan.policy.clone()
///     }
///
///     fn explain(&self, _: &Question<'_>) -> Vec<Explained> {
///         Vec::new()
///     }
/// }
/// ```
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
#[non_exhaustive]
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

impl<'a> Question<'a> {
    /// Creates the question of a person who asks for themselves, at the beginning of 1970 and
    /// without a reason. Set the other fields as the test needs.
    #[must_use]
    pub fn new(target: &'a TargetName, role: &'a RoleName, person: &'a Person, duration: TimeDelta) -> Self {
        Self {
            target,
            role,
            requester: person,
            grantee: person,
            duration,
            reason: "",
            ticket: None,
            start: None,
            asked_at: Time::UNIX_EPOCH,
            break_glass: false,
            owes_review: false,
        }
    }
}

/// Names that a policy mentions and that the embedding service has to provide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
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

/// Answer of one rule to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explained {
    /// Name of the rule.
    pub rule: RuleName,
    /// True for the rule that decided.
    pub decided: bool,
    /// Reason why the rule did not match, or what it demands.
    pub why: String,
}

impl Explained {
    /// Creates the answer of this rule.
    #[must_use]
    pub fn new(rule: RuleName, decided: bool, why: impl Into<String>) -> Self {
        Self { rule, decided, why: why.into() }
    }
}

/// Action that only some people may take, by `[[may]]` rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
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
    /// Reads the whole log. jit never asks for it: reading takes no actor. A service that shows the
    /// log to people asks the policy for it.
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

    /// Describes the action for people, after "may" or "may not".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Revoke => "revoke what others hold",
            Self::Stop => "stop anything",
            Self::Resume => "lift a stop",
            Self::Reconcile => "reconcile",
            Self::Retire => "write off or confirm a target",
            Self::Clock => "accept the clock",
            Self::Audit => "read the log",
            Self::Mfa => "remove a second factor",
        }
    }
}
