//! Dead man's switch of the mock: the work that its scheduler does by itself.

use chrono::TimeDelta;

use super::catalog::{Catalog, Statement};
use crate::clock::{Time, after};
use crate::database::{RevokeHow, store_in};
use crate::id::StoreId;

/// Dead man's switch of one membership.
#[derive(Debug, Clone)]
pub(super) struct MockSwitch {
    pub(super) fires_at: Time,
    pub(super) fired_at: Option<Time>,
    /// Flag: there was something to take.
    pub(super) took: bool,
    pub(super) grantor: u32,
    pub(super) ends_sessions: bool,
    /// Default role to put back, if the default role goes with the membership.
    pub(super) default_goes: Option<Option<u32>>,
    /// Mark of the call that armed the switch.
    pub(super) armed_by: String,
}

impl MockSwitch {
    /// Returns the store that accounts for the membership by this switch.
    pub(super) fn store(&self) -> Option<StoreId> {
        store_in(&self.armed_by).filter(|_| self.fired_at.is_none())
    }
}

impl Catalog {
    /// Fires the switches that are due. A locked membership is retried at the next look, as a
    /// scheduler does.
    pub(super) fn fire(&mut self, now: Time) {
        if !self.up || self.read_only || self.dead_mans_switches.is_empty() {
            return;
        }
        let due = |one: &MockSwitch| one.fired_at.is_none() && one.fires_at <= now;
        let due: Vec<(u32, u32)> =
            self.dead_mans_switches.iter().filter(|(_, one)| due(one)).map(|(key, _)| *key).collect();
        for (role, member) in due {
            if self.blocker(role, member).is_some() {
                continue;
            }
            let Some(mut one) = self.dead_mans_switches.get(&(role, member)).cloned() else { continue };
            one.took = self.members.iter().any(|row| (row.role, row.member) == (role, member));
            self.run(Statement::Revoke { grantor: one.grantor, role, member, how: RevokeHow::Remove });
            if let Some(back_to) = one.default_goes {
                self.deactivate(member, role, back_to);
            }
            if one.ends_sessions {
                let mut whose = self.acting_as(member);
                whose.insert(member);
                whose.remove(&one.grantor);
                self.backends.retain(|_, backend| !whose.contains(&backend.login));
            }
            one.fired_at = Some(now);
            self.dead_mans_switches.insert((role, member), one);
        }
    }
}

/// Returns the time at which a switch fires that is armed now.
pub(super) fn fires_at(now: Time, ends_in: std::time::Duration, grace: TimeDelta) -> Time {
    after(after(now, TimeDelta::from_std(ends_in).unwrap_or(TimeDelta::MAX)), grace)
}
