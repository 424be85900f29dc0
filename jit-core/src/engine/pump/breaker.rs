//! Whether a lane's server answers. A server that does not is probed by one call at a time, every 5 s at the longest.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::clock::{Time, after};
use crate::id::{TargetName, TenantId};

/// First wait after a failure; it doubles with each.
const FIRST: TimeDelta = TimeDelta::milliseconds(250);
/// Longest wait between two probes (DESIGN section 5).
const LONGEST: TimeDelta = TimeDelta::seconds(5);

/// For how long what can be done by another target is not tried by one that did not lead to the server.
const AVOIDED: TimeDelta = TimeDelta::seconds(60);

/// What this process knows of a lane's server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    /// The targets that said who they are since the server failed last, and in which incarnation each is: the others have to, before they are told
    /// anything.
    known: BTreeMap<(TenantId, TargetName), String>,
    /// When each target last turned out not to lead there, or did not answer.
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
    /// When the next probe may be made; none while the server answers.
    pub(super) fn probe_at(&self) -> Option<Time> {
        self.down.as_ref().map(|down| down.probe_at)
    }

    /// Since when it does not answer.
    pub(super) fn down_since(&self) -> Option<Time> {
        self.down.as_ref().map(|down| down.since)
    }

    /// Whether it answered, and has not failed since.
    pub(super) fn is_up(&self) -> bool {
        self.down.is_none() && !self.known.is_empty()
    }

    /// It did not answer. Whether that is news.
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

    /// The target did not lead there, or did not answer.
    pub(super) fn lost(&mut self, tenant: &TenantId, target: &TargetName, now: Time) {
        self.lost.insert((tenant.clone(), target.clone()), now);
    }

    /// Whether it is not to be used for now where another one may lead there.
    pub(super) fn has_lost(&self, tenant: &TenantId, target: &TargetName, now: Time) -> bool {
        let lost = self.lost.get(&(tenant.clone(), target.clone()));
        lost.is_some_and(|lost| now < after(*lost, AVOIDED))
    }

    /// It did its work. Since when it had not, where that is news.
    pub(super) fn answered(&mut self) -> Option<Time> {
        self.down.take().map(|down| down.since)
    }

    /// The target said that it is the lane's server, in this incarnation.
    pub(super) fn identified(&mut self, tenant: &TenantId, target: &TargetName, incarnation: String) {
        let target = (tenant.clone(), target.clone());
        self.lost.remove(&target);
        self.known.insert(target, incarnation);
    }

    /// The incarnation that the target was in when it said who it is; none: it has to say it (again).
    pub(super) fn knows(&self, tenant: &TenantId, target: &TargetName) -> Option<String> {
        self.known.get(&(tenant.clone(), target.clone())).cloned()
    }

    /// The target may be another server now.
    pub(super) fn forget(&mut self, tenant: &TenantId, target: &TargetName) {
        self.known.remove(&(tenant.clone(), target.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_05_what_one_target_showed_says_nothing_of_another() {
        let (mut breaker, tenant) = (Breaker::default(), TenantId::main());
        let [one, other] = ["one", "other"].map(|name| TargetName::new(name).unwrap());
        breaker.identified(&tenant, &one, "first".to_owned());
        assert_eq!(breaker.knows(&tenant, &other), None);
        breaker.identified(&tenant, &other, "copy".to_owned());
        assert_eq!(breaker.knows(&tenant, &one).as_deref(), Some("first"));
    }

    #[test]
    fn a_dead_server_is_probed_every_five_seconds_at_the_longest_and_forgiven_at_once() {
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
