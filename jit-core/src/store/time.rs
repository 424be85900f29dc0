//! stub
use chrono::TimeDelta;
/// A mark further than this from the wall clock at opening makes the clock doubtful.
pub const STALE_MARK: TimeDelta = TimeDelta::hours(24);
/// A step of the wall clock up to this is followed.
pub const STEP_ALLOWED: TimeDelta = TimeDelta::seconds(2);
/// stub
#[derive(Debug)]
pub struct Timekeeper;
