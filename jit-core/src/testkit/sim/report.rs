//! What a history came to.

use std::collections::BTreeMap;
use std::fmt;

use super::laws::Violation;
use super::steps::{History, Step};

/// What a history came to in which every law held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Of which seed.
    pub seed: u64,
    /// How many steps it had.
    pub events: usize,
    /// How many nodes.
    pub nodes: usize,
    /// How many accesses there were.
    pub accesses: usize,
    /// How often an access became usable while another of the same membership lived.
    pub overlaps: u64,
    /// What happened how often, faults among it.
    pub counts: BTreeMap<&'static str, u64>,
    /// A hash of everything that happened, in its order: the same seed has the same.
    pub trace: u64,
}

/// A history in which a law was broken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Of which seed.
    pub seed: u64,
    /// Which law of the design was broken; 0: something panicked, or did not end.
    pub law: u8,
    /// How.
    pub why: String,
    /// The steps that are enough for it, each with its number in the whole history.
    pub steps: Vec<String>,
    /// What happened in them, line by line.
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
