//! Remaining time of a call, and the server's clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use crate::clock::{Time, after};

/// Remaining time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    end: Instant,
}

impl Budget {
    /// Starts a budget of this length now.
    #[must_use]
    pub fn of(limit: Duration) -> Self {
        let now = Instant::now();
        Self { end: now.checked_add(limit).unwrap_or(now) }
    }

    /// Returns the time that is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Returns the time that the server may take for one statement. It is shorter than the rest, so
    /// that the server gives up before the client does.
    #[must_use]
    pub fn statement(&self) -> Duration {
        self.left().mul_f64(0.8)
    }

    /// Returns the time that a statement may wait for a lock.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.left().mul_f64(0.6)
    }
}

/// Server's clock, computed from its last reading on the connection.
#[derive(Debug)]
pub struct ServerClock(Mutex<(Instant, Time)>);

impl ServerClock {
    /// Starts with this reading of the clock.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self(Mutex::new((Instant::now(), now)))
    }

    /// Takes a new reading of the clock.
    pub fn read(&self, now: Time) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), now);
    }

    /// Returns the time that the clock will show after this delay.
    #[must_use]
    pub fn after(&self, delay: Duration) -> Time {
        let (instant, time) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = instant.elapsed().saturating_add(delay);
        after(time, TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX))
    }
}
