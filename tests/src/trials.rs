//! Tests on servers that the supervisor keeps running: `postgres-17/law_05_...`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_core::store::BoxError;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Tests of one binary.
#[derive(Debug)]
pub struct Trials {
    runtime: Arc<Runtime>,
    patience: Duration,
    all: Vec<Trial>,
}

impl Trials {
    /// Makes an empty list of tests. No test may take longer than `patience`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(patience: Duration) -> Result<Self> {
        let runtime = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build()?);
        Ok(Self { runtime, patience, all: Vec::new() })
    }

    /// Adds a test on this server.
    pub fn add<F>(&mut self, server: &str, name: &str, test: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let (runtime, patience) = (Arc::clone(&self.runtime), self.patience);
        self.all.push(Trial::test(format!("{server}/{name}"), move || {
            let done = runtime.block_on(async { tokio::time::timeout(patience, test()).await });
            let done = done.map_err(|_| format!("it takes longer than {patience:?}"))?;
            done.map_err(|error| Failed::from(error.to_string()))
        }));
    }

    /// Adds a test that cannot be run, with the reason: its server is not available.
    pub fn leave_out(&mut self, server: &str, name: &str, why: String) {
        let trial = Trial::test(format!("{server}/{name}"), || Ok(()));
        self.all.push(trial.with_kind(why).with_ignored_flag(true));
    }

    /// Runs the tests, this many at once unless the command line says otherwise, and ends the
    /// process.
    pub fn run(self, at_once: usize) -> ! {
        let mut arguments = Arguments::from_args();
        arguments.test_threads = arguments.test_threads.or(Some(at_once));
        libtest_mimic::run(&arguments, self.all).exit()
    }
}
