//! State that the threads of one open store share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::watch;

use super::error::Place;
use super::meta::Meta;
use super::read::micros;
use crate::clock::{Clock, Time};
use crate::store::{Pulse, Timekeeper};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pulse: watch::Sender<Pulse>,
    time: Mutex<Timekeeper>,
    /// The latest time that was given out, and the latest mark kept; microseconds since 1970, UTC.
    told: AtomicI64,
    kept: AtomicI64,
}

impl Shared {
    pub(super) fn new(place: Place, clock: Arc<dyn Clock>, time: Timekeeper, pulse: Pulse) -> Self {
        let (told, kept) = (AtomicI64::new(i64::MIN), AtomicI64::new(i64::MIN));
        Self { place, clock, pulse: watch::Sender::new(pulse), time: Mutex::new(time), told, kept }
    }

    pub(super) fn now(&self) -> Time {
        let now = self.time().now();
        self.told.fetch_max(micros(now), Ordering::Relaxed);
        now
    }

    pub(super) fn time(&self) -> MutexGuard<'_, Timekeeper> {
        // No statement of a timekeeper can panic, so it is always whole.
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks whether a later time was handed out than the file holds.
    pub(super) fn told(&self) -> bool {
        self.told.load(Ordering::Relaxed) > self.kept.load(Ordering::Relaxed)
    }

    /// Records that the file knows this time.
    pub(super) fn kept(&self, mark: Time) {
        self.kept.fetch_max(micros(mark), Ordering::Relaxed);
    }

    /// Wakes all who wait, if there was a commit since.
    pub(super) fn announce(&self, pulse: u64) {
        self.pulse.send_if_modified(|known| {
            let newer = pulse > known.0;
            if newer {
                known.0 = pulse;
            }
            newer
        });
    }

    /// Takes notice of what other processes did.
    pub(super) fn refresh(&self, conn: &Connection) -> rusqlite::Result<()> {
        if let Some(meta) = Meta::load(conn)? {
            self.time().see(&meta.mark);
            self.announce(meta.pulse);
        }
        Ok(())
    }
}
