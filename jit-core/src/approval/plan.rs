//! What policy demands for a request.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::decision::Proven;
use super::people::Snapshot;
use super::quorum::entitled;
use crate::clock::{Time, micros, span};
use crate::id::{ApproverName, FactorName, Group, Principal, ReceiverName, RuleName};
use crate::policy::{Activation, DeadMan, LeftBehind, Prepared, Sessions, Stance};

/// What policy demands for a request, and how the grant is to be handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The rule that matched.
    pub rule: RuleName,
    /// Hash of the policy document that the rule stood in.
    pub policy: String,
    /// In this order; none: granted at once.
    pub stages: Vec<Stage>,
    /// How long and until when.
    pub limits: Limits,
    /// What happens in the database.
    pub handling: Handling,
    /// Who is told; none named: every receiver.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub notify: BTreeSet<ReceiverName>,
    /// What is owed afterwards, where it is given in an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// One stage: all of its requirements have to be met before the next one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// All of these, by distinct humans.
    pub people: Vec<Requirement>,
    /// A second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Mfa>,
    /// All of these outside systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outside>,
    /// Who else may meet what is unmet after a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
}

/// A second factor that a stage demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mfa {
    /// Of whom.
    pub of: MfaOf,
    /// How old it may be when it is given; the requester's also when the stage is reached.
    #[serde(with = "micros")]
    pub within: TimeDelta,
    /// Which one; none named: any that is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorName>,
}

/// Of whom a second factor is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MfaOf {
    /// The one who asked.
    Requester,
    /// Everybody whose yes the stage counts.
    Approver,
}

/// An outside system that has to say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Which.
    pub approver: ApproverName,
    /// Whether its yes counts for a minute only and it is asked again right before the grant, as about a ticket.
    pub again: bool,
}

/// Who else may meet what is unmet when a stage waits for long. Quorums stay, and nobody is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// After so long, from when the stage was reached.
    #[serde(with = "micros")]
    pub after: TimeDelta,
    /// The members of this group.
    pub to: Group,
}

/// What is owed after an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// The human who owes the review.
    pub human: Principal,
    /// Who can give it, and not he.
    pub review_by: Requirement,
    /// How long after the request it is due.
    #[serde(with = "micros")]
    pub within: TimeDelta,
}

/// Something that people have to say yes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// So many distinct humans of the group.
    Group {
        /// The group.
        group: Group,
        /// How many.
        quorum: u32,
    },
    /// The manager of somebody.
    ManagerOf(Subject),
    /// This person.
    Person(Principal),
    /// One of these requirements.
    Any(Vec<Requirement>),
}

/// Whose manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The one who asked.
    Requester,
    /// The one who gets the role.
    Receiver,
}

/// One yes that is needed, from such a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A member of the group.
    Group(Group),
    /// The manager of the subject.
    ManagerOf(Subject),
    /// This person.
    Person(Principal),
}

/// One yes that is needed, and in which stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// Which stage, from 0.
    pub(crate) stage: usize,
    /// Whose.
    pub(crate) who: Who,
}

/// Most ways in which the requirements of one plan may be met, and most people it may need: the matching stays cheap.
pub(super) const MOST_WAYS: usize = 1_024;

/// A plan that could be met in more than 1,024 ways, or needs more than 1,024 people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its requirements can be met in more than 1,024 ways: use fewer `any` lists or smaller quorums")]
pub struct TooManyWays;

impl Mfa {
    /// Whether this proof, given then, will do.
    pub(super) fn accepts(&self, proven: &Proven, given: Time) -> bool {
        let kind = self.factor.as_ref().is_none_or(|factor| *factor == proven.factor);
        kind && span(proven.at, given) <= self.within
    }

    /// For a person to read.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.factor {
            Some(factor) => format!("a second factor (`{factor}`)"),
            None => "a second factor".to_owned(),
        }
    }
}

impl Stage {
    /// For a person to read.
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

    /// The second factor that is demanded of the requester in it.
    pub(super) fn mfa_of(&self, of: MfaOf) -> Option<&Mfa> {
        self.mfa.as_ref().filter(|mfa| mfa.of == of)
    }
}

impl Requirement {
    /// The people whom it names one by one.
    #[must_use]
    pub fn named(&self) -> Vec<&Principal> {
        match self {
            Self::Person(person) => vec![person],
            Self::Any(options) => options.iter().flat_map(Self::named).collect(),
            Self::Group { .. } | Self::ManagerOf(_) => Vec::new(),
        }
    }

    /// The ways in which it can be met, each as the people it needs.
    ///
    /// # Errors
    /// [`TooManyWays`] where it cannot be judged cheaply.
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

    /// Whether what the directory says of the person makes him one whom it asks.
    #[must_use]
    pub fn names(&self, name: &Principal, snapshot: &Snapshot) -> bool {
        let ways = self.ways().unwrap_or_default();
        ways.iter().flatten().any(|who| entitled(who, name, snapshot))
    }

    /// For a person to read: `2 of group dba`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Group { group, quorum: 1 } => format!("one of group `{group}`"),
            Self::Group { group, quorum } => format!("{quorum} of group `{group}`"),
            Self::ManagerOf(Subject::Requester) => "the manager of the requester".to_owned(),
            Self::ManagerOf(Subject::Receiver) => "the manager of the receiver".to_owned(),
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
    /// The people whom its stages name one by one.
    pub fn named(&self) -> impl Iterator<Item = &Principal> {
        self.stages.iter().flat_map(|stage| &stage.people).flat_map(Requirement::named)
    }

    /// Every group that the plan asks about.
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

    /// Whether this plan demands and allows the same as the other, whatever rule and document they come from.
    #[must_use]
    pub fn same_terms(&self, other: &Self) -> bool {
        let same = self.stages == other.stages && self.limits == other.limits && self.handling == other.handling;
        same && self.break_glass == other.break_glass
    }
}

/// How long, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest single window.
    #[serde(with = "micros")]
    pub max: TimeDelta,
    /// Longest window with all extensions.
    #[serde(with = "micros")]
    pub max_total: TimeDelta,
    /// How long the request waits for decisions.
    #[serde(with = "micros")]
    pub decide_by: TimeDelta,
    /// How far ahead a scheduled start may lie.
    #[serde(with = "micros")]
    pub start_within: TimeDelta,
    /// How long after its start the grant may still be tried.
    #[serde(with = "micros")]
    pub grant_within: TimeDelta,
}

/// What happens in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handling {
    /// Whether sessions end with the window.
    pub sessions: Sessions,
    /// Whether `SET ROLE` is allowed.
    pub set_role: crate::database::Width,
    /// Whether an account that has members is accepted.
    pub account_members: Stance,
    /// What happens to prepared transactions at the end.
    pub prepared: Prepared,
    /// Whether a role that can create accounts or grant is accepted.
    pub can_grant: Stance,
    /// Whether it becomes a default role, where the engine has such.
    #[serde(default)]
    pub activation: Activation,
    /// Whether the database itself is to take it away when nobody of ours is alive.
    #[serde(default)]
    pub dead_man: DeadMan,
    /// Whether it is told what is left behind.
    #[serde(default)]
    pub left_behind: LeftBehind,
}
