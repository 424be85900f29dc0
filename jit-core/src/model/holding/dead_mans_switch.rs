//! The dead man's switches that an account needs, given all its live accesses.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::verify::default_role;
use super::{Holding, RETRY_FIRST, RETRY_LONGEST};
use crate::catalog::{DefaultRole, Membership};
use crate::clock::{Time, after};
use crate::handling::{DeadMansSwitchPolicy, Sessions};
use crate::id::{AccessId, TargetName};
use crate::model::access::Access;
use crate::model::grant::Grant;

/// A dead man's switch that is in the database, or may be. It is recorded before it is armed, so
/// that none is ever left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmedSwitch {
    /// Target that armed it. Only that target can move it.
    pub target: TargetName,
    /// Membership that it takes away.
    #[serde(rename = "subject")]
    pub membership: Membership,
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
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
}

/// The dead man's switch that one membership needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSwitch {
    /// Membership that it takes away.
    pub membership: Membership,
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
pub fn wanted_dead_mans_switches(live: &[&Access]) -> Vec<WantedSwitch> {
    let mut all: Vec<WantedSwitch> = Vec::new();
    for access in live.iter().filter(|access| mode(access) != DeadMansSwitchPolicy::Off) {
        let Some((membership, _)) = holds(access) else { continue };
        if all.iter().any(|other| other.membership.is_same(membership)) {
            continue;
        }
        let together: Vec<(&&Access, Option<Time>)> = live
            .iter()
            .filter_map(|other| holds(other).filter(|(held, _)| held.is_same(membership)).map(|(_, end)| (other, end)))
            .collect();
        let ends = |access: &&Access| access.approval().plan().handling.sessions == Sessions::End;
        let sessions = if together.iter().any(|(other, _)| ends(other)) { Sessions::End } else { Sessions::Keep };
        let accesses: Vec<AccessId> = together.iter().map(|(other, _)| other.id()).collect();
        let Some((last, end)) = together.iter().map(|(other, end)| (other.id(), *end)).max_by_key(|(_, end)| *end)
        else {
            continue;
        };
        // as if all of them ended together
        let default_role = default_role(membership, &accesses, live);
        all.push(WantedSwitch { membership: membership.clone(), end, sessions, default_role, accesses, last });
    }
    all
}

/// Returns the access's rule for the dead man's switch.
#[must_use]
pub fn mode(access: &Access) -> DeadMansSwitchPolicy {
    access.approval().plan().handling.dead_mans_switch
}

/// Returns the membership of the access, and the end until which it may be wanted; no end if it is
/// being revoked.
fn holds(access: &Access) -> Option<(&Membership, Option<Time>)> {
    match access.grant()? {
        Grant::Granting(granting) => Some((&granting.membership, Some(granting.latest_end))),
        Grant::Active(active) => Some((&active.membership, Some(active.window.end()))),
        Grant::Revoking(revoking) => Some((&revoking.membership, None)),
        _ => None,
    }
}

impl Holding {
    /// Returns the dead man's switch of this membership.
    #[must_use]
    pub fn dead_mans_switch(&self, membership: &Membership) -> Option<&ArmedSwitch> {
        self.armed.iter().find(|armed| armed.membership.is_same(membership))
    }

    /// Schedules the dead man's switches that have to be armed, moved or disarmed. `by` is the
    /// target that can arm new ones; none if the target has no dead man's switch. Returns true if
    /// anything changed.
    pub fn plan_dead_mans_switches(&mut self, live: &[&Access], by: Option<&TargetName>, now: Time) -> bool {
        let before = self.armed.clone();
        let wanted = wanted_dead_mans_switches(live);
        for wanted in &wanted {
            match (self.armed.iter_mut().find(|armed| armed.membership.is_same(&wanted.membership)), by) {
                (Some(armed), _) if wanted.end.is_some() && armed.end != wanted.end => {
                    armed.due = armed.due.or(Some(now))
                }
                (None, Some(target)) if wanted.end.is_some() => self.armed.push(ArmedSwitch {
                    target: target.clone(),
                    membership: wanted.membership.clone(),
                    end: None,
                    due: Some(now),
                    last_error: None,
                }),
                _ => {}
            }
        }
        // a switch stays as it is while its revoke is not verified
        let held = |membership: &Membership| wanted.iter().any(|wanted| wanted.membership.is_same(membership));
        for armed in self.armed.iter_mut().filter(|armed| !held(&armed.membership)) {
            armed.due = armed.due.or(Some(now));
        }
        self.armed != before
    }
    /// Records that the dead man's switch of the membership is armed for this end; none if it takes
    /// the membership soon. Returns true if that is news.
    pub fn switch_armed(&mut self, membership: &Membership, end: Option<Time>, now: Time) -> bool {
        let Some(armed) = self.armed.iter_mut().find(|armed| armed.membership.is_same(membership)) else {
            return false;
        };
        // a move closer, to the end of a window that has begun, is no news
        let news = armed.end.is_none() || armed.end < end;
        (armed.end, armed.due, armed.last_error) = (end.or(armed.end).or(Some(now)), None, None);
        news
    }

    /// Records why a dead man's switch could not be armed, moved or disarmed, and schedules the
    /// next try. Returns true if the error is new.
    pub fn switch_failed(&mut self, membership: &Membership, why: &str, now: Time) -> bool {
        let mut news = false;
        for armed in self.armed.iter_mut().filter(|armed| armed.membership.is_same(membership)) {
            armed.try_again(now);
            news |= armed.last_error.as_deref() != Some(why);
            armed.last_error = Some(why.to_owned());
        }
        news
    }

    /// Schedules the next try of a dead man's switch whose server was not there.
    pub fn switch_delayed(&mut self, membership: &Membership, now: Time) {
        self.armed
            .iter_mut()
            .filter(|armed| armed.membership.is_same(membership))
            .for_each(|armed| armed.try_again(now));
    }

    /// Drops the dead man's switch of the membership, because it is disarmed or has fired.
    pub fn switch_gone(&mut self, membership: &Membership) {
        self.armed.retain(|armed| !armed.membership.is_same(membership));
    }

    /// Postpones what is due of dead man's switches that only another target can move. Returns true
    /// if there was any.
    pub fn postpone_switches_elsewhere(&mut self, here: &TargetName, now: Time) -> bool {
        let mut any = false;
        for armed in self.armed.iter_mut().filter(|armed| armed.is_due(now) && armed.target != *here) {
            armed.wait(now, RETRY_LONGEST);
            any = true;
        }
        any
    }

    /// Returns the memberships whose dead man's switches the target has to disarm now: no live
    /// access needs them.
    #[must_use]
    pub fn switches_to_disarm(&self, here: &TargetName, live: &[&Access], now: Time) -> Vec<Membership> {
        let wanted = wanted_dead_mans_switches(live);
        let over = |armed: &&ArmedSwitch| !wanted.iter().any(|wanted| wanted.membership.is_same(&armed.membership));
        let due = self.armed.iter().filter(|armed| armed.is_due(now) && armed.target == *here);
        due.filter(over).map(|armed| armed.membership.clone()).collect()
    }
}

impl ArmedSwitch {
    /// Checks whether it has to be armed, moved or disarmed now.
    fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Schedules the next try after a failure: soon at first, then less often.
    fn try_again(&mut self, now: Time) {
        let wait = if self.last_error.is_none() { RETRY_FIRST } else { RETRY_LONGEST };
        self.wait(now, wait);
    }

    /// Schedules the next try after this wait. A switch that may be about to fire is tried by the
    /// end for which it is armed, and then every second: it would take the role from who has it
    /// longer.
    fn wait(&mut self, now: Time, wait: TimeDelta) {
        let due = after(now, wait);
        let may_fire = self.end.filter(|end| now < after(*end, RETRY_LONGEST));
        self.due = Some(may_fire.map_or(due, |end| due.min(end.max(after(now, RETRY_FIRST)))));
    }
}
