//! What the dead-men of an account have to be, given all its live accesses (DESIGN section 8).

use serde::{Deserialize, Serialize};

use super::Holding;
use super::judge::same;
use super::verify::default_role;
use crate::access::Access;
use crate::clock::Time;
use crate::database::{DefaultRole, Subject};
use crate::grant::Grant;
use crate::id::{AccessId, TargetName};
use crate::policy::{DeadMan, Sessions};

/// One that is in the database, or may be: it is on record before it is armed, so that none is ever left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmedDeadMan {
    /// By which target it was armed: only there it can be moved.
    pub target: TargetName,
    /// The membership that it takes away.
    pub subject: Subject,
    /// For which end it is armed, the store's time, UTC; it fires the target's grace later. None: it may not be armed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// When it has to be armed, moved or disarmed, the store's time, UTC; none: it is as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// Why that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What one membership's has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDeadMan {
    /// The membership.
    pub subject: Subject,
    /// When the last access to it ends, the store's time, UTC; none: all have ended, and it is not known to be gone.
    pub end: Option<Time>,
    /// Whether the account's sessions end with it.
    pub sessions: Sessions,
    /// What becomes of the default role.
    pub default_role: DefaultRole,
    /// The accesses that want the membership now, or on whose behalf it is being taken away.
    pub accesses: Vec<AccessId>,
    /// The one of them that ends last.
    pub last: AccessId,
}

/// One for each membership of a live access whose rule does not switch it off: for the last end of all who want it, so that it
/// takes nothing from anybody who is still entitled (law 7). It stays until the end is verified.
#[must_use]
pub fn wanted_dead_men(live: &[&Access]) -> Vec<WantedDeadMan> {
    let mut all: Vec<WantedDeadMan> = Vec::new();
    for access in live.iter().filter(|access| mode(access) != DeadMan::Off) {
        let Some((subject, _)) = holds(access) else { continue };
        if all.iter().any(|other| same(&other.subject, subject)) {
            continue;
        }
        let together: Vec<(&&Access, Option<Time>)> = live
            .iter()
            .filter_map(|other| holds(other).filter(|(held, _)| same(held, subject)).map(|(_, end)| (other, end)))
            .collect();
        let ends = |access: &&Access| access.approval().plan().handling.sessions == Sessions::End;
        let sessions = if together.iter().any(|(other, _)| ends(other)) { Sessions::End } else { Sessions::Keep };
        let accesses: Vec<AccessId> = together.iter().map(|(other, _)| other.id()).collect();
        let Some((last, end)) = together.iter().map(|(other, end)| (other.id(), *end)).max_by_key(|(_, end)| *end)
        else {
            continue;
        };
        // as if all of them ended together
        let default_role = default_role(subject, &accesses, live);
        all.push(WantedDeadMan { subject: subject.clone(), end, sessions, default_role, accesses, last });
    }
    all
}

/// What an access says of its dead-man.
#[must_use]
pub fn mode(access: &Access) -> DeadMan {
    access.approval().plan().handling.dead_man
}

/// The membership of the access, and no longer than until when it wants that; none: no more.
fn holds(access: &Access) -> Option<(&Subject, Option<Time>)> {
    match access.grant()? {
        Grant::Granting(granting) => Some((&granting.subject, Some(granting.latest_end))),
        Grant::Active(active) => Some((&active.subject, Some(active.window.end()))),
        Grant::Revoking(revoking) => Some((&revoking.subject, None)),
        _ => None,
    }
}

impl Holding {
    /// The dead-man of this membership.
    #[must_use]
    pub fn dead_man(&self, subject: &Subject) -> Option<&ArmedDeadMan> {
        self.armed.iter().find(|armed| same(&armed.subject, subject))
    }

    /// Makes due what has to be armed, moved or disarmed. `by`: the target by which new ones can be armed; none where it has no dead-man.
    /// Whether anything changed.
    pub fn plan_dead_men(&mut self, live: &[&Access], by: Option<&TargetName>, now: Time) -> bool {
        let before = self.armed.clone();
        let wanted = wanted_dead_men(live);
        for wanted in &wanted {
            match (self.armed.iter_mut().find(|armed| same(&armed.subject, &wanted.subject)), by) {
                (Some(armed), _) if wanted.end.is_some() && armed.end != wanted.end => {
                    armed.due = armed.due.or(Some(now))
                }
                (None, Some(target)) if wanted.end.is_some() => self.armed.push(ArmedDeadMan {
                    target: target.clone(),
                    subject: wanted.subject.clone(),
                    end: None,
                    due: Some(now),
                    trouble: None,
                }),
                _ => {}
            }
        }
        // one whose revoke is not verified yet stays as it is
        let held = |subject: &Subject| wanted.iter().any(|wanted| same(&wanted.subject, subject));
        for armed in self.armed.iter_mut().filter(|armed| !held(&armed.subject)) {
            armed.due = armed.due.or(Some(now));
        }
        self.armed != before
    }
}
