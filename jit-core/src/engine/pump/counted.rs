//! Store time counted between two reads.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use crate::clock::{Time, after};

/// Store time, counted on from when it was read: another read can take a round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    read: Time,
    at: Instant,
}

impl From<Time> for Counted {
    #[expect(clippy::disallowed_methods, reason = "it counts on from a time of the store")]
    fn from(read: Time) -> Self {
        Self { read, at: Instant::now() }
    }
}

impl Counted {
    pub(super) fn now(self) -> Time {
        after(self.read, TimeDelta::from_std(self.age()).unwrap_or(TimeDelta::MAX))
    }

    /// Returns the time since it was read.
    pub(super) fn age(self) -> Duration {
        self.at.elapsed()
    }
}
