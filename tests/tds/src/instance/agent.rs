//! SQL Server Agent: jobs, their steps and schedules. A rollback does not undo changes of jobs.

use chrono::{NaiveDateTime, Timelike};

use super::Instance;

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub name: String,
    /// Login that owns the job.
    pub owner: i32,
    pub enabled: bool,
    pub steps: Vec<Step>,
    pub schedules: Vec<Schedule>,
    /// Job runs on this server. Without sp_add_jobserver it never does.
    pub targeted: bool,
    pub running: bool,
    /// Time up to which the schedules have been checked.
    pub seen: NaiveDateTime,
    /// Error message of the last run that failed.
    pub failure: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub name: String,
    pub database: String,
    pub command: String,
}

/// Schedule of every day, with a step in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub enabled: bool,
    pub every: u32,
}

impl Job {
    /// Checks whether a schedule starts the job now.
    fn is_due(&mut self, now: NaiveDateTime) -> bool {
        let seen = std::mem::replace(&mut self.seen, now);
        // a running job is not started a second time
        let may = self.enabled && self.targeted && !self.running && !self.steps.is_empty();
        let times = |time: NaiveDateTime, every: u32| (time.date(), time.num_seconds_from_midnight() / every.max(1));
        may && self.schedules.iter().any(|s| s.enabled && times(seen, s.every) != times(now, s.every))
    }
}

impl Instance {
    /// Returns the jobs that start now, and marks them as running.
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
