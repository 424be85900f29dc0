//! A clock on the runtime's simulated time, whose wall time can be set.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use tokio::time::Instant;

use jit_core::clock::{Clock, Time, after, whole_micros};

/// A machine's clock. Time elapses as the runtime has it.
#[derive(Debug)]
pub(super) struct SimClock {
    start: Instant,
    off: Mutex<TimeDelta>,
}

impl SimClock {
    /// Makes a clock that begins at 2026-01-01T00:00:00Z.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), off: Mutex::new(TimeDelta::zero()) }
    }

    /// Steps the wall clock, as a person would set it.
    pub(super) fn step(&self, by: TimeDelta) {
        let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        *off = off.checked_add(&by).unwrap_or(*off);
    }

    /// Returns the time of a clock that nobody ever set.
    pub(super) fn true_time(&self) -> Time {
        let origin = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or(DateTime::UNIX_EPOCH);
        whole_micros(after(origin, TimeDelta::from_std(self.start.elapsed()).unwrap_or_default()))
    }
}

#[async_trait]
impl Clock for SimClock {
    fn wall(&self) -> Time {
        let off = *self.off.lock().unwrap_or_else(PoisonError::into_inner);
        after(self.true_time(), off)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_add(Duration::from_secs(3600))
    }

    fn boot(&self) -> Option<String> {
        Some("simulated".to_owned())
    }

    async fn sleep(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}
