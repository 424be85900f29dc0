//! Time and randomness come in from outside, so that a simulator can own both.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// A point in time, UTC, in whole microseconds (the precision of every store).
pub type Time = DateTime<Utc>;

/// Source of time for the embedded stores. The store's time (law 10) is computed from it; it is
/// never used raw.
///
/// ```
/// use std::time::Duration;
///
/// use async_trait::async_trait;
/// use jit_core::clock::{Clock, Time, whole_micros};
/// use tokio::time::Instant;
///
/// /// Tells tokio's time, which a test can pause and advance.
/// #[derive(Debug)]
/// struct TokioClock(Instant);
///
/// #[async_trait]
/// impl Clock for TokioClock {
///     fn wall(&self) -> Time {
///         whole_micros(Time::UNIX_EPOCH + self.elapsed())
///     }
///
///     fn elapsed(&self) -> Duration {
///         self.0.elapsed()
///     }
///
///     async fn sleep(&self, how_long: Duration) {
///         tokio::time::sleep(how_long).await;
///     }
/// }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # let clock = TokioClock(Instant::now());
/// # clock.sleep(Duration::from_secs(3600)).await;
/// # assert_eq!(clock.wall().timestamp(), 3600);
/// # }
/// ```
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// Reads the wall clock, UTC. It may jump.
    fn wall(&self) -> Time;
    /// Returns the time elapsed since an arbitrary start, including suspend. It never jumps.
    fn elapsed(&self) -> Duration;
    /// Names the start that [`Clock::elapsed`] counts from, if processes share it. The readings of
    /// two such processes can be compared, and time goes on from one process to the next.
    fn boot(&self) -> Option<String> {
        None
    }
    /// Waits for at least this time.
    async fn sleep(&self, how_long: Duration);
}

/// Source of randomness for ids, jitter and nonces.
///
/// ```
/// use std::sync::atomic::{AtomicU8, Ordering};
///
/// use jit_core::AccessId;
/// use jit_core::clock::{Entropy, Time};
///
/// /// Counts, so that a test gets the same ids in every run. Nothing else may use it.
/// #[derive(Debug, Default)]
/// struct Counting(AtomicU8);
///
/// impl Entropy for Counting {
///     fn fill(&self, buffer: &mut [u8]) {
///         buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
///     }
/// }
///
/// let id = AccessId::fresh(Time::UNIX_EPOCH, &Counting::default());
/// assert_eq!(id.to_string(), "00000000-0000-7001-8203-040506070809");
/// ```
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills the buffer with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Clock of the machine: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "it holds nothing, and never will")]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn wall(&self) -> Time {
        let spec = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let nanos = u32::try_from(spec.tv_nsec).unwrap_or_default();
        whole_micros(DateTime::from_timestamp(spec.tv_sec, nanos).unwrap_or(DateTime::UNIX_EPOCH))
    }

    fn elapsed(&self) -> Duration {
        let spec = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(spec.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(spec.tv_nsec).unwrap_or_default())
    }

    fn boot(&self) -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    async fn sleep(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}

/// Random numbers of the operating system.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "it holds nothing, and never will")]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // A machine without randomness cannot make ids or keys: nothing sensible can go on.
        #[allow(clippy::expect_used)]
        getrandom::fill(buffer).expect("the operating system gives no random numbers");
    }
}

/// Cuts the time to whole microseconds.
#[must_use]
pub fn whole_micros(time: Time) -> Time {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}

/// Adds `delta` to `time`. The result stops at the end of time instead of overflowing.
#[must_use]
pub fn after(time: Time, delta: TimeDelta) -> Time {
    let edge = if delta < TimeDelta::zero() { Time::MIN_UTC } else { Time::MAX_UTC };
    time.checked_add_signed(delta).unwrap_or(edge)
}

/// Returns the span from `earlier` to `later`. It is negative if they are the other way round.
#[must_use]
pub fn span(earlier: Time, later: Time) -> TimeDelta {
    later.signed_duration_since(earlier)
}

/// Converts a span to `std`. A negative span becomes zero.
#[must_use]
pub fn to_std(delta: TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default()
}

/// Serialises a [`TimeDelta`] as whole microseconds.
pub(crate) mod micros {
    use chrono::TimeDelta;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes whole microseconds.
    ///
    /// # Errors
    /// When the span has more microseconds than an `i64` holds.
    pub(crate) fn serialize<S: Serializer>(delta: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
        let micros = delta.num_microseconds().ok_or_else(|| serde::ser::Error::custom("span too long"))?;
        to.serialize_i64(micros)
    }

    /// Reads whole microseconds.
    ///
    /// # Errors
    /// When it is not a number, or longer than a century.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
        let micros = i64::deserialize(from)?;
        if micros.unsigned_abs() > 3_155_760_000_000_000 {
            return Err(D::Error::custom("a span longer than a century"));
        }
        Ok(TimeDelta::microseconds(micros))
    }
}

/// Serialises a [`TimeDelta`] as seconds: a whole number, or one with a fraction.
pub(crate) mod seconds {
    use std::time::Duration;

    use chrono::TimeDelta;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes seconds. A negative span becomes zero.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub(crate) fn serialize<S: Serializer>(delta: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
        let delta = super::to_std(*delta);
        match delta.subsec_nanos() {
            0 => to.serialize_u64(delta.as_secs()),
            _ => to.serialize_f64(delta.as_secs_f64()),
        }
    }

    /// Reads seconds, to the microsecond.
    ///
    /// # Errors
    /// When it is not a number, negative, or longer than a century.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
        let seconds = f64::deserialize(from)?;
        if seconds > 3_155_760_000.0 {
            return Err(D::Error::custom("a span longer than a century"));
        }
        let nanoseconds = Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        let micros = i64::try_from(nanoseconds.as_micros()).map_err(D::Error::custom)?;
        // a number such as 0.3 may be read as 299,999.99 microseconds
        let rounded = if nanoseconds.subsec_nanos() % 1_000 >= 500 { micros.saturating_add(1) } else { micros };
        Ok(TimeDelta::microseconds(rounded))
    }

    /// The same for a span that may be absent.
    pub(crate) mod maybe {
        use chrono::TimeDelta;
        use serde::{Deserialize, Deserializer, Serializer};

        /// Writes seconds, or null.
        ///
        /// # Errors
        /// Those of the serialiser.
        pub(crate) fn serialize<S: Serializer>(delta: &Option<TimeDelta>, to: S) -> Result<S::Ok, S::Error> {
            match delta {
                Some(delta) => super::serialize(delta, to),
                None => to.serialize_none(),
            }
        }

        /// Reads seconds, or null.
        ///
        /// # Errors
        /// As the module above.
        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeDelta>, D::Error> {
            #[derive(Deserialize)]
            struct Seconds(#[serde(with = "super")] TimeDelta);
            Ok(Option::<Seconds>::deserialize(from)?.map(|Seconds(delta)| delta))
        }
    }
}
