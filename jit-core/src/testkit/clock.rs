//! A clock that stands still until it is set by hand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use tokio::sync::watch;

use crate::clock::{Clock, Time, after};

/// A clock set by hand. Its clones are the same clock.
///
/// [`Bench`](crate::testkit::Bench) shows a service tested on it. Limits of `until_active` and
/// `until_ended` count on this clock too, so they end only when it is moved.
///
/// ```
/// use std::time::Duration;
///
/// use jit_core::clock::Clock;
/// use jit_core::testkit::ManualClock;
///
/// let clock = ManualClock::at("2026-11-05T12:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.wall().to_rfc3339(), "2026-11-05T12:01:00+00:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    face: Arc<watch::Sender<Face>>,
}

#[derive(Debug, Clone)]
struct Face {
    wall: Time,
    elapsed: Duration,
    boot: u64,
}

impl ManualClock {
    /// Makes a clock that stands at this wall time, an hour after its boot.
    #[must_use]
    pub fn at(wall: Time) -> Self {
        Self { face: Arc::new(watch::Sender::new(Face { wall, elapsed: Duration::from_secs(3600), boot: 1 })) }
    }

    /// Lets time pass: the wall clock and the elapsed time go on, and sleepers wake when their time
    /// has come.
    pub fn advance(&self, how_long: Duration) {
        let delta = TimeDelta::from_std(how_long).unwrap_or(TimeDelta::MAX);
        self.face.send_modify(|face| {
            face.wall = after(face.wall, delta);
            face.elapsed = face.elapsed.saturating_add(how_long);
        });
    }

    /// Steps the wall clock, forward if positive; no time passes.
    pub fn step_wall(&self, by: TimeDelta) {
        self.face.send_modify(|face| face.wall = after(face.wall, by));
    }

    /// Reboots the machine after it was off for this long. The wall clock went on meanwhile; the
    /// elapsed time counts from the new start.
    pub fn reboot(&self, off_for: Duration) {
        let delta = TimeDelta::from_std(off_for).unwrap_or(TimeDelta::MAX);
        self.face.send_modify(|face| {
            face.wall = after(face.wall, delta);
            face.elapsed = Duration::ZERO;
            face.boot = face.boot.saturating_add(1);
        });
    }
}

impl Default for ManualClock {
    /// Makes a clock that stands at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(DateTime::from_timestamp(1_767_225_600, 0).unwrap_or(DateTime::UNIX_EPOCH))
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn wall(&self) -> Time {
        self.face.borrow().wall
    }

    fn elapsed(&self) -> Duration {
        self.face.borrow().elapsed
    }

    fn boot(&self) -> Option<String> {
        Some(format!("manual-{}", self.face.borrow().boot))
    }

    async fn sleep(&self, how_long: Duration) {
        let mut face = self.face.subscribe();
        let (boot, wake) = {
            let now = face.borrow();
            (now.boot, now.elapsed.saturating_add(how_long))
        };
        // The sender lives as long as `self`, so this ends only when the time has come.
        let _ = face.wait_for(|now| now.elapsed >= wake || now.boot != boot).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_sleeps_wakes_when_enough_time_has_passed() {
        let clock = ManualClock::default();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        clock.step_wall(TimeDelta::hours(1));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }
}
