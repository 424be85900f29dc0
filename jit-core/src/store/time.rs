//! Time of the embedded stores: it believes the wall clock once, then counts (law 10).

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::ClockState;
use crate::clock::{Clock, Time, after, span, whole_micros};

/// Distance of the mark from the wall clock at opening beyond which the clock is doubtful.
pub const STALE_MARK: TimeDelta = TimeDelta::hours(24);
/// Largest step of the wall clock that is followed.
pub const STEP_ALLOWED: TimeDelta = TimeDelta::seconds(2);

/// Smallest difference for which the wall clock is followed: it and the elapsed time are not read
/// at the same instant.
const NOISE: TimeDelta = TimeDelta::milliseconds(10);
/// Divisor of the elapsed time: added-up steps are followed no faster than this part of it.
/// Otherwise a clock that steps by two seconds every second would make the store's time run at
/// three times its speed.
const SLEW: u32 = 1000;

/// Gives a store its time. The owner also keeps its [`Mark`], and shows it the marks of other
/// processes.
#[derive(Debug, Clone)]
pub struct Timekeeper {
    clock: Arc<dyn Clock>,
    boot: Option<String>,
    /// The store's time at `counted_at` of the elapsed time.
    counted: Time,
    counted_at: Duration,
    /// The latest time given. `counted` may fall behind it by what was followed backwards.
    given: Time,
    /// Distance by which the wall clock may still be followed now.
    spare: TimeDelta,
    /// Distance of the wall clock that an operator accepted.
    skew: TimeDelta,
    doubt: Option<Doubt>,
    accepts: u64,
}

/// Memory of a store's time, so that the next process goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// The latest time given, UTC.
    pub time: Time,
    /// Value of [`Clock::elapsed`] when the time was given.
    pub elapsed: Duration,
    /// Value of [`Clock::boot`] when the time was given.
    pub boot: Option<String>,
    /// Distance of the wall clock from the store's time when an operator accepted it.
    pub skew: TimeDelta,
    /// Doubt that nobody has settled yet.
    pub doubt: Option<Doubt>,
    /// Number of times the clock was accepted.
    pub accepts: u64,
}

impl Mark {
    /// Creates the mark of a time that nobody doubts, in an unknown boot.
    #[must_use]
    pub fn new(time: Time, elapsed: Duration) -> Self {
        Self { time, elapsed, boot: None, skew: TimeDelta::zero(), doubt: None, accepts: 0 }
    }
}

/// Times that made the clock doubtful at an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The mark, plus the time that is known to have passed since, UTC.
    pub mark: Time,
    /// Time of the wall clock, UTC.
    pub wall: Time,
}

impl Doubt {
    /// Creates the doubt of these two times.
    #[must_use]
    pub fn new(mark: Time, wall: Time) -> Self {
        Self { mark, wall }
    }
}

struct Reading {
    wall: Time,
    elapsed: Duration,
}

impl Timekeeper {
    /// Starts the time at an opening.
    ///
    /// The wall clock is believed, but time is never below the mark. If the machine still counts
    /// from the same start, time is also not below what has passed since the mark was made. A fresh
    /// store has no mark.
    #[must_use]
    pub fn open(clock: Arc<dyn Clock>, mark: Option<&Mark>) -> Self {
        let boot = clock.boot();
        let now = read(clock.as_ref());
        let floor = mark.map(|mark| floor(mark, boot.as_deref(), now.elapsed));
        let skew = mark.map_or(TimeDelta::zero(), |mark| mark.skew);
        let start = floor.map_or(now.wall, |floor| {
            // A wall clock that was accepted as being behind still tells how much time passed while
            // nothing counted.
            let told = after(now.wall, less(TimeDelta::zero(), skew));
            let told = if further(span(floor, told), STALE_MARK) { now.wall } else { told };
            floor.max(if now.wall < floor { told } else { now.wall })
        });
        let doubt = mark.and_then(|mark| mark.doubt).or_else(|| {
            let mark = floor?;
            let off = span(mark, now.wall);
            let stale = further(off, STALE_MARK) && further(less(off, skew), STALE_MARK);
            stale.then_some(Doubt { mark, wall: now.wall })
        });
        Self {
            clock,
            boot,
            counted: start,
            counted_at: now.elapsed,
            given: start,
            spare: STEP_ALLOWED,
            skew,
            doubt,
            accepts: mark.map_or(0, |mark| mark.accepts),
        }
    }

    /// Returns the store's time, UTC: never earlier than any time that was given or seen before.
    pub fn now(&mut self) -> Time {
        self.count();
        self.given
    }

    /// Returns the mark to keep. The next opening, and every other process on the store, goes on
    /// from here.
    pub fn mark(&mut self) -> Mark {
        self.count();
        Mark {
            time: self.given,
            elapsed: self.counted_at,
            boot: self.boot.clone(),
            skew: self.skew,
            doubt: self.doubt,
            accepts: self.accepts,
        }
    }

    /// Takes notice of a mark that another process may have made.
    pub fn see(&mut self, mark: &Mark) {
        let now = self.count();
        let floor = floor(mark, self.boot.as_deref(), now.elapsed);
        if floor > self.given {
            self.counted = floor;
            self.given = floor;
        }
        if mark.accepts >= self.accepts {
            // The mark with more accepts is the later one. At the same count, a doubt counts
            // whoever found it.
            let accepted = mark.accepts > self.accepts;
            self.doubt = if accepted { mark.doubt } else { self.doubt.or(mark.doubt) };
            self.skew = if accepted { mark.skew } else { self.skew };
            self.accepts = mark.accepts;
        }
    }

    /// Believes the wall clock as it is. If it is behind, time goes on from where it stands.
    pub fn accept(&mut self) {
        let now = self.count();
        self.counted = self.given.max(now.wall);
        self.given = self.counted;
        self.skew = span(self.counted, now.wall);
        self.doubt = None;
        self.accepts = self.accepts.saturating_add(1);
    }

    /// Returns the state of the clock.
    pub fn state(&mut self) -> ClockState {
        let now = self.count();
        if let Some(Doubt { mark, wall }) = self.doubt {
            return ClockState::Doubtful { mark, wall };
        }
        let by = span(self.given, now.wall);
        if further(by, STEP_ALLOWED) && further(less(by, self.skew), STEP_ALLOWED) {
            return ClockState::Stepped { by };
        }
        ClockState::Good
    }

    fn count(&mut self) -> Reading {
        let now = read(self.clock.as_ref());
        let passed = delta(now.elapsed.saturating_sub(self.counted_at));
        self.counted = after(self.counted, passed);
        self.counted_at = now.elapsed;
        self.spare = plus(self.spare, passed.checked_div(SLEW.cast_signed()).unwrap_or_default()).min(STEP_ALLOWED);

        let off = span(self.counted, now.wall);
        if !further(off, STEP_ALLOWED) {
            self.skew = TimeDelta::zero();
            if further(off, NOISE) {
                let follow = off.clamp(less(TimeDelta::zero(), self.spare), self.spare);
                self.counted = after(self.counted, follow);
                self.spare = less(self.spare, follow.abs());
            }
        }
        self.given = self.given.max(self.counted);
        now
    }
}

/// Reads the wall clock and the elapsed time of one instant, in whole microseconds, so that sums
/// lose nothing.
fn read(clock: &dyn Clock) -> Reading {
    let mut before = clock.elapsed();
    for _ in 0..3 {
        let wall = clock.wall();
        let elapsed = clock.elapsed();
        // A process that is suspended between the two readings would see a step that did not
        // happen.
        if elapsed.saturating_sub(before) < Duration::from_millis(1) {
            return Reading { wall: whole_micros(wall), elapsed: whole(elapsed) };
        }
        before = elapsed;
    }
    Reading { wall: whole_micros(clock.wall()), elapsed: whole(clock.elapsed()) }
}

/// Returns the earliest time that it can be now, by this mark.
fn floor(mark: &Mark, boot: Option<&str>, elapsed: Duration) -> Time {
    if boot.is_some() && mark.boot.as_deref() == boot {
        return after(mark.time, delta(elapsed.saturating_sub(mark.elapsed)));
    }
    mark.time
}

fn whole(elapsed: Duration) -> Duration {
    Duration::new(elapsed.as_secs(), elapsed.subsec_micros().saturating_mul(1000))
}

fn delta(elapsed: Duration) -> TimeDelta {
    TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX)
}

fn plus(one: TimeDelta, other: TimeDelta) -> TimeDelta {
    one.checked_add(&other).unwrap_or(TimeDelta::MAX)
}

fn less(one: TimeDelta, other: TimeDelta) -> TimeDelta {
    one.checked_sub(&other).unwrap_or(TimeDelta::MIN)
}

fn further(off: TimeDelta, limit: TimeDelta) -> bool {
    off > limit || off < less(TimeDelta::zero(), limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::ManualClock;

    fn open(clock: &ManualClock, mark: Option<&Mark>) -> Timekeeper {
        Timekeeper::open(Arc::new(clock.clone()), mark)
    }

    fn secs(n: i64) -> TimeDelta {
        TimeDelta::seconds(n)
    }

    #[test]
    fn a_fresh_store_believes_the_wall_clock() {
        let clock = ManualClock::default();
        let mut keeper = open(&clock, None);
        assert_eq!(keeper.now(), clock.wall());
        assert_eq!(keeper.state(), ClockState::Good);
    }

    #[test]
    fn a_small_step_is_followed_and_a_large_one_reported() {
        let clock = ManualClock::default();
        let mut keeper = open(&clock, None);
        clock.step_wall(secs(1));
        assert_eq!(keeper.now(), clock.wall());
        let before = keeper.now();
        clock.step_wall(secs(3600));
        assert_eq!(keeper.now(), before);
        assert_eq!(keeper.state(), ClockState::Stepped { by: secs(3600) });
        clock.advance(Duration::from_secs(60));
        assert_eq!(keeper.now(), before + secs(60));
        clock.step_wall(secs(-3600));
        assert_eq!(keeper.state(), ClockState::Good);
    }

    #[test]
    fn law_10_a_clock_set_back_by_little_makes_time_stand_and_by_much_changes_nothing() {
        let clock = ManualClock::default();
        let mut keeper = open(&clock, None);
        let before = keeper.now();
        clock.step_wall(secs(-2));
        assert_eq!(keeper.now(), before);
        clock.advance(Duration::from_secs(3));
        assert_eq!(keeper.now(), before + secs(1));
        clock.step_wall(secs(-7200));
        clock.advance(Duration::from_secs(10));
        assert_eq!(keeper.now(), before + secs(11));
    }

    #[test]
    fn law_10_short_processes_on_a_clock_set_back_prolong_nothing() {
        let clock = ManualClock::default();
        let mut mark = open(&clock, None).mark();
        let start = mark.time;
        clock.step_wall(TimeDelta::hours(-12));
        for _ in 0..60 {
            clock.advance(Duration::from_secs(60));
            mark = open(&clock, Some(&mark)).mark();
        }
        assert_eq!(mark.time, start + secs(3600));
        assert_eq!(open(&clock, Some(&mark)).state(), ClockState::Stepped { by: TimeDelta::hours(-12) });
    }

    #[test]
    fn a_machine_that_was_off_for_a_night_believes_the_wall_clock() {
        let clock = ManualClock::default();
        let mark = open(&clock, None).mark();
        clock.reboot(Duration::from_secs(9 * 3600));
        let mut keeper = open(&clock, Some(&mark));
        assert_eq!(keeper.now(), clock.wall());
        assert_eq!(keeper.state(), ClockState::Good);
    }

    #[test]
    fn a_mark_more_than_a_day_away_needs_a_word_which_every_process_hears() {
        for days in [-2, 2] {
            let clock = ManualClock::default();
            let mut running = open(&clock, None);
            let first = running.mark();
            clock.step_wall(TimeDelta::days(days));
            let mut keeper = open(&clock, Some(&first));
            assert!(matches!(keeper.state(), ClockState::Doubtful { .. }), "{days}");
            assert_eq!(keeper.now(), first.time.max(clock.wall()));

            // The doubt stays for a store that is opened later, and for one that was already open,
            // although the mark is now near.
            let second = keeper.mark();
            let mut later = open(&clock, Some(&second));
            assert!(matches!(later.state(), ClockState::Doubtful { .. }), "{days}");
            running.see(&second);
            assert!(matches!(running.state(), ClockState::Doubtful { .. }), "{days}");

            later.accept();
            let third = later.mark();
            assert!(third.time >= second.time);
            running.see(&third);
            keeper.see(&third);
            assert_eq!(running.state(), ClockState::Good, "{days}");
            assert_eq!(keeper.state(), ClockState::Good, "{days}");
            clock.reboot(Duration::from_secs(60));
            let mut rebooted = open(&clock, Some(&third));
            assert_eq!(rebooted.state(), ClockState::Good, "{days}");
            assert_eq!(rebooted.now(), third.time + secs(60), "{days}");
        }
    }

    #[test]
    fn three_days_without_a_process_are_no_doubt_while_the_machine_counted_and_are_one_when_it_was_off() {
        let three_days = Duration::from_secs(3 * 86_400);
        let clock = ManualClock::default();
        let mark = open(&clock, None).mark();
        clock.advance(three_days);
        assert_eq!(open(&clock, Some(&mark)).state(), ClockState::Good);
        clock.reboot(three_days);
        assert!(matches!(open(&clock, Some(&mark)).state(), ClockState::Doubtful { .. }));
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Passes(u64),
        Step(i64),
        Reopen,
        Other,
        Reboot(u64),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            4 => (0_u64..5_000_000).prop_map(Happens::Passes),
            2 => (-3_000_000_i64..3_000_000).prop_map(Happens::Step),
            1 => (-200_000_000_000_i64..200_000_000_000).prop_map(Happens::Step),
            2 => Just(Happens::Reopen),
            2 => Just(Happens::Other),
            1 => (0_u64..100_000_000).prop_map(Happens::Reboot),
        ]
    }

    proptest! {
        #[test]
        fn law_10_time_never_runs_backwards(all in proptest::collection::vec(happens(), 1..60)) {
            let clock = ManualClock::default();
            let mut one = open(&clock, None);
            let mut mark = one.mark();
            let mut other = open(&clock, Some(&mark));
            let mut last = one.now();
            for what in all {
                match what {
                    Happens::Passes(micros) => clock.advance(Duration::from_micros(micros)),
                    Happens::Step(micros) => clock.step_wall(TimeDelta::microseconds(micros)),
                    Happens::Reopen => one = open(&clock, Some(&mark)),
                    Happens::Other => std::mem::swap(&mut one, &mut other),
                    Happens::Reboot(micros) => {
                        clock.reboot(Duration::from_micros(micros));
                        one = open(&clock, Some(&mark));
                        other = open(&clock, Some(&mark));
                    }
                }
                one.see(&mark);
                let now = one.now();
                prop_assert!(now >= last, "{now} after {last}");
                last = now;
                mark = one.mark();
                prop_assert_eq!(mark.time, now);
            }
        }

        #[test]
        fn law_10_no_wall_clock_makes_time_run_much_faster_or_slower(
            all in proptest::collection::vec((1_000_u64..5_000_000, -3_000_000_i64..3_000_000), 1..100)
        ) {
            let clock = ManualClock::default();
            let mut keeper = open(&clock, None);
            let start = keeper.now();
            let mut passed = TimeDelta::zero();
            for (micros, step) in all {
                clock.advance(Duration::from_micros(micros));
                clock.step_wall(TimeDelta::microseconds(step));
                passed += delta(Duration::from_micros(micros));
                let off = span(start, keeper.now()) - passed;
                let limit = STEP_ALLOWED + passed / 1000;
                prop_assert!(!further(off, limit + NOISE), "off by {off} after {passed}");
            }
        }
    }
}
