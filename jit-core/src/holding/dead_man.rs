//! The dead man's switches that an account needs, given all its live accesses.

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

/// A dead man's switch that is in the database, or may be. It is recorded before it is armed, so
/// that none is ever left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmedDeadMan {
    /// Target that armed it. Only that target can move it.
    pub target: TargetName,
    /// Membership that it takes away.
    pub subject: Subject,
    /// End for which it is armed, by the store's clock, UTC. It fires the target's grace time
    /// later. None if it may not be armed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Time at which it has to be armed, moved or disarmed, by the store's clock, UTC. None if it
    /// is in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// Last error of that work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The dead man's switch that one membership needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDeadMan {
    /// Membership that it takes away.
    pub subject: Subject,
    /// End of the last access to it, by the store's clock, UTC. None if all have ended and the
    /// membership is not known to be gone.
    pub end: Option<Time>,
    /// Rule for the account's sessions when it fires.
    pub sessions: Sessions,
    /// Default role after it fires.
    pub default_role: DefaultRole,
    /// Accesses that want the membership now, or for which it is being revoked.
    pub accesses: Vec<AccessId>,
    /// Access among them that ends last.
    pub last: AccessId,
}

/// Returns one dead man's switch for each membership of a live access whose rule does not turn it
/// off.
///
/// It is set to the last end of all accesses that want the membership, so that it takes nothing
/// from anybody who is still entitled (law 7). It stays until the end is verified.
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

/// Returns the access's rule for the dead man's switch.
#[must_use]
pub fn mode(access: &Access) -> DeadMan {
    access.approval().plan().handling.dead_man
}

/// Returns the membership of the access, and the end until which it may be wanted; no end if it is
/// being revoked.
fn holds(access: &Access) -> Option<(&Subject, Option<Time>)> {
    match access.grant()? {
        Grant::Granting(granting) => Some((&granting.subject, Some(granting.latest_end))),
        Grant::Active(active) => Some((&active.subject, Some(active.window.end()))),
        Grant::Revoking(revoking) => Some((&revoking.subject, None)),
        _ => None,
    }
}

impl Holding {
    /// Returns the dead man's switch of this membership.
    #[must_use]
    pub fn dead_man(&self, subject: &Subject) -> Option<&ArmedDeadMan> {
        self.armed.iter().find(|armed| same(&armed.subject, subject))
    }

    /// Schedules the dead man's switches that have to be armed, moved or disarmed. `by` is the
    /// target that can arm new ones; none if the target has no dead man's switch. Returns true if
    /// anything changed.
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
        // a switch stays as it is while its revoke is not verified
        let held = |subject: &Subject| wanted.iter().any(|wanted| same(&wanted.subject, subject));
        for armed in self.armed.iter_mut().filter(|armed| !held(&armed.subject)) {
            armed.due = armed.due.or(Some(now));
        }
        self.armed != before
    }
}
