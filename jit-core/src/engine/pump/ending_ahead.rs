//! Revokes that were sent without a claim, and may be under way (law 3's exception).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RecordKey;

/// Revokes of this process that were sent without a claim and are not settled.
///
/// Nothing is granted to their accounts meanwhile: a revoke that arrives late would take the new
/// grant as well (law 14). Other nodes learn of it from the holding, as soon as the store can be
/// written again.
#[derive(Debug, Default)]
pub(super) struct EndingAhead(Mutex<Vec<Sent>>);

/// Revoke that may not have arrived yet.
#[derive(Debug)]
struct Sent {
    /// Key of the account's holding.
    holding: RecordKey,
    /// Time after which it cannot arrive any more.
    until: Instant,
    /// Call that waits for its answer, and its place there; none once the answer was lost.
    call: Option<(u64, usize)>,
    /// True once the holding says so too, for other nodes.
    told: bool,
}

/// Call that waits for the answers of such revokes. If it ends without them, they may still arrive.
pub(super) struct Calling<'e> {
    ahead: &'e EndingAhead,
    call: u64,
    /// Time for which what was sent may still arrive after its answer was lost.
    linger: Duration,
}

impl EndingAhead {
    /// Begins a call that revokes from the accounts of these holdings, and is given up after
    /// `patience`. What it sent may arrive for `linger` longer.
    pub(super) fn begin<'h>(
        &self,
        holdings: impl Iterator<Item = &'h RecordKey>,
        patience: Duration,
        linger: Duration,
    ) -> Calling<'_> {
        let mut sent = self.sent();
        let last = sent.iter().filter_map(|sent| sent.call).max();
        let call = last.map_or(0, |(last, _)| last.saturating_add(1));
        let until = later(patience.saturating_add(linger));
        sent.extend(holdings.enumerate().map(|(place, holding)| Sent {
            holding: holding.clone(),
            until,
            call: Some((call, place)),
            told: false,
        }));
        Calling { ahead: self, call, linger }
    }

    /// Returns how long a revoke from the account of this holding may still arrive; none if all are
    /// settled.
    pub(super) fn wait(&self, holding: &RecordKey) -> Option<Duration> {
        let sent = self.sent();
        let until = sent.iter().filter(|sent| sent.holding == *holding).map(|sent| sent.until).max()?;
        Some(until.saturating_duration_since(now())).filter(|wait| !wait.is_zero())
    }

    /// Returns the holdings that do not say yet that a revoke may still arrive, and for how long it
    /// may.
    pub(super) fn untold(&self) -> BTreeMap<RecordKey, Duration> {
        let mut untold = BTreeMap::new();
        for sent in self.sent().iter().filter(|sent| !sent.told && sent.call.is_none()) {
            let wait: &mut Duration = untold.entry(sent.holding.clone()).or_default();
            *wait = sent.until.saturating_duration_since(now()).max(*wait);
        }
        untold
    }

    /// Records that the holding says so.
    pub(super) fn told(&self, holding: &RecordKey) {
        for sent in self.sent().iter_mut().filter(|sent| sent.holding == *holding && sent.call.is_none()) {
            sent.told = true;
        }
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|sent| sent.call.is_some() || sent.until > now());
        sent
    }
}

impl Calling<'_> {
    /// Records that the order at this place was answered: it is not under way any more.
    pub(super) fn answered(&self, place: usize) {
        self.ahead.sent().retain(|sent| sent.call != Some((self.call, place)));
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        let of_this = |sent: &Sent| sent.call.is_some_and(|(call, _)| call == self.call);
        for sent in self.ahead.sent().iter_mut().filter(|sent| of_this(sent)) {
            sent.call = None;
            sent.until = sent.until.min(later(self.linger));
        }
    }
}

fn later(wait: Duration) -> Instant {
    now().checked_add(wait).unwrap_or_else(now)
}

#[expect(clippy::disallowed_methods, reason = "the store, which has the time, cannot be used")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use crate::store::Kind;

    #[test]
    fn law_14_an_answer_settles_its_own_order_alone() {
        let (ahead, holding) = (EndingAhead::default(), RecordKey::new(&TenantId::default(), Kind::Holding, "alice"));
        let limit = Duration::from_secs(60);
        let calling = ahead.begin([&holding, &holding].into_iter(), limit, limit);
        calling.answered(0);
        drop(calling);
        assert!(ahead.wait(&holding).is_some(), "the other revoke may still arrive");
        assert!(ahead.untold().contains_key(&holding));
        ahead.told(&holding);
        assert!(ahead.untold().is_empty());
    }
}
