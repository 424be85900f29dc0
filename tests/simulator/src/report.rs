//! Result of a history.

use std::collections::BTreeMap;
use std::fmt;

use super::laws::Violation;
use super::steps::{History, Step};

/// Report of a history in which every law held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Seed of the history.
    pub seed: u64,
    /// Number of its steps.
    pub events: usize,
    /// Number of its nodes.
    pub nodes: usize,
    /// Number of its accesses.
    pub accesses: usize,
    /// Number of accesses that became usable while another one of the same membership lived.
    pub overlaps: u64,
    /// Number of times that each thing happened, faults included.
    pub counts: BTreeMap<&'static str, u64>,
    /// Hash of everything that happened, in order: the same seed has the same hash.
    pub trace: u64,
}

/// A history in which a law was broken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Seed of the history.
    pub seed: u64,
    /// Number of the law that was broken; 0: something panicked, or did not end.
    pub law: u8,
    /// Description of the violation.
    pub why: String,
    /// Steps that are enough to break it, each with its number in the whole history.
    pub steps: Vec<String>,
    /// Events of these steps, line by line.
    pub trace: Vec<String>,
}

impl Failure {
    pub(super) fn new(history: &History, violation: &Violation, trace: Vec<String>) -> Self {
        let say = |(number, step): &(u64, Step)| format!("{number}: {step:?}");
        Self {
            seed: history.seed,
            law: violation.law,
            why: violation.to_string(),
            steps: history.steps.iter().map(say).collect(),
            trace,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.why)?;
        writeln!(f, "{} steps are enough:", self.steps.len())?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl std::error::Error for Failure {}
