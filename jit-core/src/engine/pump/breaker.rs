//! Circuit breaker of a lane's server. A server that does not answer is probed by one call at a
//! time, at least once a second.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::clock::{Time, after};
use crate::id::{TargetName, TenantId};

/// First wait after a failure; it doubles with each.
const FIRST: TimeDelta = TimeDelta::milliseconds(250);
/// Longest wait between two probes.
const LONGEST: TimeDelta = TimeDelta::milliseconds(900);

/// Time for which a target that did not lead to the server is avoided, if another target can do the
/// work.
const AVOIDED: TimeDelta = TimeDelta::seconds(60);

/// State of a lane's server as this process knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    /// Targets that identified themselves since the server's last failure, each with its
    /// incarnation. The others have to do so before they are sent anything.
    known: BTreeMap<(TenantId, TargetName), String>,
    /// Time at which each target last did not lead there, or did not answer.
    lost: BTreeMap<(TenantId, TargetName), Time>,
    down: Option<Down>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Down {
    since: Time,
    probe_at: Time,
    wait: TimeDelta,
}

impl Breaker {
    /// Returns the time of the next probe; none while the server answers.
    pub(super) fn probe_at(&self) -> Option<Time> {
        self.down.as_ref().map(|down| down.probe_at)
    }

    /// Returns the time since which the server does not answer.
    pub(super) fn down_since(&self) -> Option<Time> {
        self.down.as_ref().map(|down| down.since)
    }

    /// Checks whether the server answered, and has not failed since.
    pub(super) fn is_up(&self) -> bool {
        self.down.is_none() && !self.known.is_empty()
    }

    /// Records that the server did not answer. Returns true if that is new.
    pub(super) fn failed(&mut self, now: Time) -> bool {
        self.known.clear();
        let news = self.down.is_none();
        let (since, wait) = match &self.down {
            Some(down) => (down.since, down.wait.checked_mul(2).unwrap_or(LONGEST).min(LONGEST)),
            None => (now, FIRST),
        };
        self.down = Some(Down { since, probe_at: after(now, wait), wait });
        news
    }

    /// Records that the target did not lead there, or did not answer.
    pub(super) fn lost(&mut self, tenant: &TenantId, target: &TargetName, now: Time) {
        self.lost.insert((tenant.clone(), target.clone()), now);
    }

    /// Checks whether the target is to be avoided for now, if another one may lead there.
    pub(super) fn has_lost(&self, tenant: &TenantId, target: &TargetName, now: Time) -> bool {
        let lost = self.lost.get(&(tenant.clone(), target.clone()));
        lost.is_some_and(|lost| now < after(*lost, AVOIDED))
    }

    /// Records that the server did its work. Returns the time since which it had not, if that is
    /// news.
    pub(super) fn answered(&mut self) -> Option<Time> {
        self.down.take().map(|down| down.since)
    }

    /// Records that the target identified itself as the lane's server, in this incarnation.
    pub(super) fn identified(&mut self, tenant: &TenantId, target: &TargetName, incarnation: String) {
        let target = (tenant.clone(), target.clone());
        self.lost.remove(&target);
        self.known.insert(target, incarnation);
    }

    /// Returns the incarnation in which the target identified itself; none if it has to do so
    /// (again).
    pub(super) fn knows(&self, tenant: &TenantId, target: &TargetName) -> Option<String> {
        self.known.get(&(tenant.clone(), target.clone())).cloned()
    }

    /// Forgets the target's identity: it may be another server now.
    pub(super) fn forget(&mut self, tenant: &TenantId, target: &TargetName) {
        self.known.remove(&(tenant.clone(), target.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_05_what_one_target_showed_says_nothing_of_another() {
        let (mut breaker, tenant) = (Breaker::default(), TenantId::default());
        let [one, other] = ["one", "other"].map(|name| TargetName::new(name).unwrap());
        breaker.identified(&tenant, &one, "first".to_owned());
        assert_eq!(breaker.knows(&tenant, &other), None);
        breaker.identified(&tenant, &other, "copy".to_owned());
        assert_eq!(breaker.knows(&tenant, &one).as_deref(), Some("first"));
    }

    #[test]
    fn a_dead_server_is_probed_every_second_and_forgiven_at_once() {
        let mut breaker = Breaker::default();
        let mut now = Time::UNIX_EPOCH;
        assert!(breaker.failed(now));
        for _ in 0..20 {
            let next = breaker.probe_at().unwrap();
            assert!(next > now && next <= after(now, LONGEST));
            now = next;
            assert!(!breaker.failed(now));
        }
        assert_eq!(breaker.probe_at(), Some(after(now, LONGEST)));
        assert_eq!(breaker.answered(), Some(Time::UNIX_EPOCH));
        assert_eq!(breaker.probe_at(), None);
    }
}
