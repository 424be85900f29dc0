//! Time between two readings of the store's.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use crate::clock::{Time, after};

/// The store's time, counted on from when it was read: to ask again can be a round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    read: Time,
    at: Instant,
}

impl From<Time> for Counted {
    fn from(read: Time) -> Self {
        Self { read, at: Instant::now() }
    }
}

impl Counted {
    pub(super) fn now(self) -> Time {
        after(self.read, TimeDelta::from_std(self.age()).unwrap_or(TimeDelta::MAX))
    }

    /// How long ago it was read.
    pub(super) fn age(self) -> Duration {
        self.at.elapsed()
    }
}
