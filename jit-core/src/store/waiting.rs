//! Waiting for a time or a commit, whichever comes first.

use std::time::Duration;

use tokio::sync::watch;

use super::Pulse;
use crate::clock::{Clock, Time, span, to_std};

/// Longest sleep at once: a timer does not count the time a machine was suspended, the store's time
/// does.
const NAP: Duration = Duration::from_secs(1);

/// Returns at `until` of `now()`, or when the pulse is no longer `seen`.
pub(super) async fn wait(
    clock: &dyn Clock,
    now: impl Fn() -> Time + Send,
    mut pulse: watch::Receiver<Pulse>,
    seen: Pulse,
    until: Time,
) {
    while *pulse.borrow_and_update() == seen {
        let now = now();
        if now >= until {
            return;
        }
        let nap = to_std(span(now, until)).min(NAP);
        tokio::select! {
            biased;
            changed = pulse.changed() => if changed.is_err() { return },
            () = clock.sleep(nap) => {}
        }
    }
}
