//! Plans: what policy demands for a request.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::decision::Proven;
use super::people::Snapshot;
use super::quorum::entitled;
use crate::clock::{Time, micros, span};
use crate::handling::{Activation, DeadMansSwitchPolicy, Leftovers, MembershipScope, Prepared, Sessions, Stance};
use crate::id::{ApproverName, FactorName, Group, NotifierName, Principal, RuleName};

/// A plan: what policy demands for a request, and how the grant is handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The rule that matched.
    pub rule: RuleName,
    /// Hash of the policy document that contains the rule.
    pub policy: String,
    /// Stages in their order. Without any, the role is granted at once.
    pub stages: Vec<Stage>,
    /// Limits of the durations.
    pub limits: Limits,
    /// Handling of the grant in the database.
    pub handling: Handling,
    /// Notifiers that are told. An empty set means all of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub notify: BTreeSet<NotifierName>,
    /// Review that is owed afterwards, if this is an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// One stage: all of its requirements have to be met before the next one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stage {
    /// Requirements that distinct humans have to meet, all of them.
    pub people: Vec<Requirement>,
    /// Second factor that the stage demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Mfa>,
    /// Outside systems that have to say yes, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outside>,
    /// Escalation that adds approvers after a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
}

/// A second factor that a stage demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mfa {
    /// Person who has to give it.
    pub of: MfaOf,
    /// Highest age of the proof when it is given. The requester's proof must also be this fresh
    /// when the stage is reached.
    #[serde(with = "micros")]
    pub within: TimeDelta,
    /// Factor that is demanded. None means any that is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorName>,
}

/// Person who has to give a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MfaOf {
    /// Principal who asked for the role.
    Requester,
    /// All approvers whose yes the stage counts.
    Approver,
}

/// An outside system that has to say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outside {
    /// Name of the outside system.
    pub approver: ApproverName,
    /// True if its yes counts for a minute only, so that it is asked again right before the grant,
    /// as about a ticket.
    pub again: bool,
}

impl Outside {
    /// Demands one yes of this outside system.
    #[must_use]
    pub fn new(approver: ApproverName) -> Self {
        Self { approver, again: false }
    }

    /// Asks it again right before the grant.
    #[must_use]
    pub fn again(self) -> Self {
        Self { again: true, ..self }
    }
}

/// Additional approvers for a stage that is pending for long. Quorums stay, and nobody loses the
/// right to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Escalation {
    /// Time to wait after the stage was reached.
    #[serde(with = "micros")]
    pub after: TimeDelta,
    /// Group whose members may decide too.
    pub to: Group,
}

impl Escalation {
    /// Adds this group after this time.
    #[must_use]
    pub fn new(after: TimeDelta, to: Group) -> Self {
        Self { after, to }
    }
}

/// Review that is owed after an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakGlass {
    /// Human who owes the review.
    pub human: Principal,
    /// Requirement for the reviewer, who cannot be the human who owes the review.
    pub review_by: Requirement,
    /// Time until the review is due, counted from the activation of the role.
    #[serde(with = "micros")]
    pub within: TimeDelta,
}

impl BreakGlass {
    /// Demands a review of what this human does, within this time from the activation.
    #[must_use]
    pub fn new(human: Principal, review_by: Requirement, within: TimeDelta) -> Self {
        Self { human, review_by, within }
    }
}

/// A requirement that people have to meet by saying yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Requirement {
    /// A number of distinct humans of the group.
    Group {
        /// Group of the approvers.
        group: Group,
        /// Number of approvers.
        quorum: u32,
    },
    /// The manager of the requester or the grantee.
    ManagerOf(Party),
    /// One named person.
    Person(Principal),
    /// Any one of these requirements.
    Any(Vec<Requirement>),
}

/// Person whose manager is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Party {
    /// Principal who asked for the role.
    Requester,
    /// Principal who gets the role.
    #[serde(rename = "receiver")]
    Grantee,
}

/// Kind of person who has to say yes once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Who {
    /// A member of the group.
    Group(Group),
    /// The manager of the requester or the grantee.
    ManagerOf(Party),
    /// One named person.
    Person(Principal),
}

/// One yes that a stage needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Number of the stage, from 0.
    pub(crate) stage: usize,
    /// Person who has to say yes.
    pub(crate) who: Who,
}

/// Limit of the ways to meet the requirements of one plan, and of the people it needs. It keeps the
/// matching cheap.
pub(super) const MOST_WAYS: usize = 1_024;

/// A plan that could be met in more than 1,024 ways, or needs more than 1,024 people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its requirements can be met in more than 1,024 ways: use fewer `any` lists or smaller quorums")]
#[allow(clippy::exhaustive_structs, reason = "it holds nothing, and never will")]
pub struct TooManyWays;

impl Mfa {
    /// Demands any second factor of these people, no older than this.
    #[must_use]
    pub fn new(of: MfaOf, within: TimeDelta) -> Self {
        Self { of, within, factor: None }
    }

    /// Checks whether this proof is acceptable if it is given at that time.
    pub(super) fn accepts(&self, proven: &Proven, given: Time) -> bool {
        let kind = self.factor.as_ref().is_none_or(|factor| *factor == proven.factor);
        kind && span(proven.at, given) <= self.within
    }

    /// Describes the factor for people to read.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.factor {
            Some(factor) => format!("a second factor (`{factor}`)"),
            None => "a second factor".to_owned(),
        }
    }
}

impl Stage {
    /// Adds a requirement that people have to meet.
    #[must_use]
    pub fn person(mut self, requirement: Requirement) -> Self {
        self.people.push(requirement);
        self
    }

    /// Demands this second factor.
    #[must_use]
    pub fn mfa(self, mfa: Mfa) -> Self {
        Self { mfa: Some(mfa), ..self }
    }

    /// Adds an outside system that has to say yes.
    #[must_use]
    pub fn outside(mut self, outside: Outside) -> Self {
        self.outside.push(outside);
        self
    }

    /// Adds approvers after a while.
    #[must_use]
    pub fn escalate(self, escalation: Escalation) -> Self {
        Self { escalate: Some(escalation), ..self }
    }

    /// Describes the stage for people to read.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        let mfa = self.mfa_of(MfaOf::Requester).map(|mfa| format!("{} of the requester", mfa.describe()));
        parts.extend(mfa);
        parts.extend(self.outside.iter().map(|asked| match asked.again {
            true => format!("the answer of `{}` (asked again before the grant)", asked.approver),
            false => format!("the answer of `{}`", asked.approver),
        }));
        parts.extend(self.people.iter().map(Requirement::describe));
        let mut text = parts.join(" and ");
        if let Some(mfa) = self.mfa_of(MfaOf::Approver) {
            text.push_str(&format!(", each with {}", mfa.describe()));
        }
        if let Some(Escalation { after, to }) = &self.escalate {
            let after = humantime::format_duration(crate::clock::to_std(*after));
            text.push_str(&format!("; after `{after}` also of group `{to}`"));
        }
        text
    }

    /// Returns the second factor that the stage demands from this side.
    pub(super) fn mfa_of(&self, of: MfaOf) -> Option<&Mfa> {
        self.mfa.as_ref().filter(|mfa| mfa.of == of)
    }
}

impl Requirement {
    /// Returns the people whom it names one by one.
    #[must_use]
    pub fn named(&self) -> Vec<&Principal> {
        match self {
            Self::Person(person) => vec![person],
            Self::Any(options) => options.iter().flat_map(Self::named).collect(),
            Self::Group { .. } | Self::ManagerOf(_) => Vec::new(),
        }
    }

    /// Returns the ways to meet the requirement, each as the people it needs.
    ///
    /// # Errors
    /// [`TooManyWays`] if there are too many to judge cheaply.
    pub fn ways(&self) -> Result<Vec<Vec<Who>>, TooManyWays> {
        let ways = match self {
            Self::Group { group, quorum } => {
                let needed = usize::try_from(*quorum).map_err(|_| TooManyWays)?;
                if needed > MOST_WAYS {
                    return Err(TooManyWays);
                }
                vec![vec![Who::Group(group.clone()); needed]]
            }
            Self::ManagerOf(subject) => vec![vec![Who::ManagerOf(*subject)]],
            Self::Person(person) => vec![vec![Who::Person(person.clone())]],
            Self::Any(options) => {
                let mut all = Vec::new();
                for option in options {
                    all.extend(option.ways()?);
                    if all.len() > MOST_WAYS {
                        return Err(TooManyWays);
                    }
                }
                all
            }
        };
        Ok(ways)
    }

    /// Checks whether the requirement asks this person, by the directory's answer.
    #[must_use]
    pub fn names(&self, name: &Principal, snapshot: &Snapshot) -> bool {
        let ways = self.ways().unwrap_or_default();
        ways.iter().flatten().any(|who| entitled(who, name, snapshot))
    }

    /// Describes the requirement for people to read: `2 of group dba`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Group { group, quorum: 1 } => format!("one of group `{group}`"),
            Self::Group { group, quorum } => format!("{quorum} of group `{group}`"),
            Self::ManagerOf(Party::Requester) => "the manager of the requester".to_owned(),
            Self::ManagerOf(Party::Grantee) => "the manager of the grantee".to_owned(),
            Self::Person(person) => format!("`{person}`"),
            Self::Any(options) => {
                let options: Vec<String> = options.iter().map(Self::describe).collect();
                format!("any of ({})", options.join(", "))
            }
        }
    }

    fn collect_groups(&self, into: &mut BTreeSet<Group>) {
        match self {
            Self::Group { group, .. } => {
                into.insert(group.clone());
            }
            Self::Any(options) => options.iter().for_each(|option| option.collect_groups(into)),
            Self::ManagerOf(_) | Self::Person(_) => {}
        }
    }
}

impl Plan {
    /// Creates the plan of this rule that grants the role at once, for at most this time. `policy`
    /// is the hash of what the policy says.
    #[must_use]
    pub fn new(rule: RuleName, policy: impl Into<String>, max: TimeDelta) -> Self {
        let (limits, handling) = (Limits::new(max), Handling::default());
        let (stages, notify) = (Vec::new(), BTreeSet::new());
        Self { rule, policy: policy.into(), stages, limits, handling, notify, break_glass: None }
    }

    /// Adds a stage, after those that are there.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
        self
    }

    /// Sets the limits of the durations.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the handling of the grant.
    #[must_use]
    pub fn handling(self, handling: Handling) -> Self {
        Self { handling, ..self }
    }

    /// Makes it the plan of an emergency, which somebody has to review afterwards.
    #[must_use]
    pub fn break_glass(self, owed: BreakGlass) -> Self {
        Self { break_glass: Some(owed), ..self }
    }

    /// Returns the people whom the stages name one by one.
    pub fn named(&self) -> impl Iterator<Item = &Principal> {
        self.stages.iter().flat_map(|stage| &stage.people).flat_map(Requirement::named)
    }

    /// Returns all groups that the plan asks about.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<Group> {
        let mut groups = BTreeSet::new();
        let owed = self.break_glass.iter().map(|owed| &owed.review_by);
        for requirement in self.stages.iter().flat_map(|stage| &stage.people).chain(owed) {
            requirement.collect_groups(&mut groups);
        }
        groups
            .extend(self.stages.iter().filter_map(|stage| stage.escalate.as_ref()).map(|escalate| escalate.to.clone()));
        groups
    }

    /// Checks whether both plans demand and allow the same. Rule and policy document may differ.
    #[must_use]
    pub fn same_terms(&self, other: &Self) -> bool {
        let same = self.stages == other.stages && self.limits == other.limits && self.handling == other.handling;
        same && self.break_glass == other.break_glass
    }
}

/// Limits of the durations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Longest single window.
    #[serde(with = "micros")]
    pub max: TimeDelta,
    /// Longest window with all extensions.
    #[serde(with = "micros")]
    pub max_total: TimeDelta,
    /// Time for which the request is pending on decisions.
    #[serde(with = "micros")]
    pub decide_by: TimeDelta,
    /// Longest time until a scheduled start.
    #[serde(with = "micros")]
    pub start_within: TimeDelta,
    /// Time after the start in which the grant is tried.
    #[serde(with = "micros")]
    pub grant_within: TimeDelta,
}

/// Time for which a request is pending, unless the rule says another.
pub(crate) const DECIDE_BY: TimeDelta = TimeDelta::minutes(30);
/// Time after the start in which the grant is tried, unless the rule says another.
pub(crate) const GRANT_WITHIN: TimeDelta = TimeDelta::minutes(15);

impl Limits {
    /// Creates limits of this longest window, with the other durations of a rule that names none:
    /// extensions within the same time, decisions within 30 minutes, no scheduled start.
    #[must_use]
    pub fn new(max: TimeDelta) -> Self {
        let (decide_by, start_within, grant_within) = (DECIDE_BY, TimeDelta::zero(), GRANT_WITHIN);
        Self { max, max_total: max, decide_by, start_within, grant_within }
    }

    /// Sets the longest window with all extensions.
    #[must_use]
    pub fn max_total(self, max_total: TimeDelta) -> Self {
        Self { max_total, ..self }
    }

    /// Sets the time for which the request is pending on decisions.
    #[must_use]
    pub fn decide_by(self, decide_by: TimeDelta) -> Self {
        Self { decide_by, ..self }
    }

    /// Allows a scheduled start within this time.
    #[must_use]
    pub fn start_within(self, start_within: TimeDelta) -> Self {
        Self { start_within, ..self }
    }

    /// Sets the time after the start in which the grant is tried.
    #[must_use]
    pub fn grant_within(self, grant_within: TimeDelta) -> Self {
        Self { grant_within, ..self }
    }
}

/// Handling of a grant in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Handling {
    /// Rule for sessions at the end of the window.
    pub sessions: Sessions,
    /// Scope of the membership, which tells if `SET ROLE` is allowed.
    pub set_role: MembershipScope,
    /// Rule for an account that has members.
    pub account_members: Stance,
    /// Rule for prepared transactions at the end.
    pub prepared: Prepared,
    /// Rule for a role that can create accounts or grant.
    pub can_grant: Stance,
    /// Rule for making the role a default role, on engines that have default roles.
    #[serde(default)]
    pub activation: Activation,
    /// Rule for the dead man's switch: the database itself removes the membership if no node is
    /// alive.
    #[serde(default)]
    #[serde(rename = "dead_man")]
    pub dead_mans_switch: DeadMansSwitchPolicy,
    /// Rule for reporting leftovers.
    #[serde(default)]
    #[serde(rename = "left_behind")]
    pub leftovers: Leftovers,
}

impl Default for Handling {
    /// Returns the handling of a rule that names none.
    fn default() -> Self {
        Self {
            sessions: Sessions::End,
            set_role: MembershipScope::Inherit,
            account_members: Stance::Refused,
            prepared: Prepared::Report,
            can_grant: Stance::Refused,
            activation: Activation::default(),
            dead_mans_switch: DeadMansSwitchPolicy::default(),
            leftovers: Leftovers::default(),
        }
    }
}
