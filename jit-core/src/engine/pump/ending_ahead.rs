//! Revokes that were sent without a claim, and may be under way (law 3's exception).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Revokes of this process that were sent without a claim and are not settled.
///
/// Nothing is granted to their accounts meanwhile: a revoke that arrives late would take the new
/// grant as well (law 14).
#[derive(Debug, Default)]
pub(super) struct EndingAhead(Mutex<Vec<Sent>>);

/// Revoke that may not have arrived yet.
#[derive(Debug)]
struct Sent {
    /// Serial key of the account.
    serial: String,
    /// Time after which it cannot arrive any more.
    until: Instant,
    /// Call that waits for its answer; none once the answer was lost.
    call: Option<u64>,
}

/// Call that waits for the answers of such revokes. If it ends without them, they may still arrive.
pub(super) struct Calling<'e> {
    ahead: &'e EndingAhead,
    call: u64,
    /// Time for which what was sent may still arrive after its answer was lost.
    linger: Duration,
}

impl EndingAhead {
    /// Begins a call that revokes from these accounts and is given up after `patience`. What it
    /// sent may arrive for `linger` longer.
    pub(super) fn begin<'s>(
        &self,
        serials: impl Iterator<Item = &'s str>,
        patience: Duration,
        linger: Duration,
    ) -> Calling<'_> {
        let mut sent = self.sent();
        let call = sent.iter().filter_map(|sent| sent.call).max().map_or(0, |last| last.saturating_add(1));
        let until = later(patience.saturating_add(linger));
        sent.extend(serials.map(|serial| Sent { serial: serial.to_owned(), until, call: Some(call) }));
        Calling { ahead: self, call, linger }
    }

    /// Checks whether a call that revokes from the account waits for its answer.
    pub(super) fn is_calling(&self, serial: &str) -> bool {
        self.sent().iter().any(|sent| sent.serial == serial && sent.call.is_some())
    }

    /// Returns how long a revoke from the account may still arrive; none if all are settled.
    pub(super) fn wait(&self, serial: &str) -> Option<Duration> {
        let sent = self.sent();
        let until = sent.iter().filter(|sent| sent.serial == serial).map(|sent| sent.until).max()?;
        Some(until.saturating_duration_since(now())).filter(|wait| !wait.is_zero())
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|sent| sent.call.is_some() || sent.until > now());
        sent
    }
}

impl Calling<'_> {
    /// Records that the revoke from this account was answered: it is not under way any more.
    pub(super) fn answered(&self, serial: &str) {
        let of_this = |sent: &Sent| sent.call == Some(self.call) && sent.serial == serial;
        self.ahead.sent().retain(|sent| !of_this(sent));
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        for sent in self.ahead.sent().iter_mut().filter(|sent| sent.call == Some(self.call)) {
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
