//! What policy demands for a request.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::micros;
use crate::id::{Group, Principal, RuleName};
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
}

/// One stage: all of its requirements have to be met before the next one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// All of these, by distinct humans.
    pub people: Vec<Requirement>,
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

/// Most ways in which the requirements of one plan may be met, and most people it may need: the matching stays cheap.
pub(super) const MOST_WAYS: usize = 1_024;

/// A plan that could be met in more than 1,024 ways, or needs more than 1,024 people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its requirements can be met in more than 1,024 ways: use fewer `any` lists or smaller quorums")]
pub struct TooManyWays;

impl Requirement {
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
    /// Every group that the plan asks about.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<Group> {
        let mut groups = BTreeSet::new();
        for requirement in self.stages.iter().flat_map(|stage| &stage.people) {
            requirement.collect_groups(&mut groups);
        }
        groups
    }

    /// Whether this plan demands and allows the same as the other, whatever rule and document they come from.
    #[must_use]
    pub fn same_terms(&self, other: &Self) -> bool {
        self.stages == other.stages && self.limits == other.limits && self.handling == other.handling
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
