//! SQL Server Agent: jobs, their steps, and when they run. No transaction takes back what happens to them.

use chrono::{NaiveDateTime, Timelike};

use super::World;

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub name: String,
    /// A login.
    pub owner: i32,
    pub enabled: bool,
    pub steps: Vec<Step>,
    pub schedules: Vec<Schedule>,
    /// Whether it is to run on this server: without sp_add_jobserver it never does.
    pub targeted: bool,
    pub running: bool,
    /// Until when it was looked at whether it is due.
    pub seen: NaiveDateTime,
    /// What the last run that failed said.
    pub failure: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub name: String,
    pub database: String,
    pub command: String,
}

/// Every so many seconds of every day.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub enabled: bool,
    pub every: u32,
}

impl Job {
    /// Whether a schedule says that it starts, as of now.
    fn is_due(&mut self, now: NaiveDateTime) -> bool {
        let seen = std::mem::replace(&mut self.seen, now);
        // a job that runs is not started a second time
        let may = self.enabled && self.targeted && !self.running && !self.steps.is_empty();
        let times = |time: NaiveDateTime, every: u32| (time.date(), time.num_seconds_from_midnight() / every.max(1));
        may && self.schedules.iter().any(|s| s.enabled && times(seen, s.every) != times(now, s.every))
    }
}

impl World {
    /// The jobs that start now; they are marked as running.
    pub(crate) fn due_jobs(&mut self) -> Vec<Job> {
        let (now, runs) = (self.now(), self.agent && !self.stopping);
        let due = |job: &mut Job| {
            job.running = job.is_due(now) && runs || job.running;
            job.running && runs
        };
        let idle = self.jobs.values_mut().filter(|job| !job.running);
        idle.filter_map(|job| due(job).then(|| job.clone())).collect()
    }
}
