//! Runs real processes of the trial binary on a real PostgreSQL: killed, stopped, raced, and used
//! wrongly.
#![allow(clippy::indexing_slicing)]

mod cedar;
mod dead_mans_switch;
mod kills;
mod nodes;
mod outage;
mod overlap;
mod races;
mod reconcile;
mod stage;
mod stops;
mod town;
mod workflow;
mod wrong_use;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_tests::places::OnPostgres;
use jit_tests::servers::{RunningPostgres, Servers};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Longest time of one test on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// PostgreSQL version of all these tests; the laws cover the differences between versions.
const MAJOR: u32 = 17;

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    // most of the time a test waits for the end of a claim
    arguments.test_threads = arguments.test_threads.or(Some(10));
    let servers = Servers::of_this_run()?;
    let mut tests = Tests {
        server: servers.postgres().find(|server| server.major == MAJOR).cloned(),
        absent: servers.absent.clone(),
        runtime: Arc::new(Builder::new_multi_thread().worker_threads(4).enable_all().build()?),
        trials: Vec::new(),
    };
    cedar::all(&mut tests);
    dead_mans_switch::all(&mut tests);
    kills::all(&mut tests);
    stops::all(&mut tests);
    nodes::all(&mut tests);
    outage::all(&mut tests);
    overlap::all(&mut tests);
    races::all(&mut tests);
    reconcile::all(&mut tests);
    workflow::all(&mut tests, &servers);
    wrong_use::all(&mut tests);
    libtest_mimic::run(&arguments, tests.trials).exit()
}

/// Tests to run.
struct Tests {
    server: Option<RunningPostgres>,
    /// Servers that were left out, with the reasons.
    absent: BTreeMap<String, String>,
    runtime: Arc<Runtime>,
    trials: Vec<Trial>,
}

/// Server and store of a test.
#[derive(Debug, Clone)]
struct Ground {
    server: RunningPostgres,
    store: StoreKind,
}

/// Kind of store that the processes of a test use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreKind {
    /// Store in one file.
    File,
    /// Store in a database of the server.
    Shared,
}

impl Ground {
    /// Makes a new store for the processes. `None`: a file will do.
    async fn store(&self) -> Result<Option<OnPostgres>> {
        match self.store {
            StoreKind::File => Ok(None),
            StoreKind::Shared => Ok(Some(OnPostgres::make(&self.server).await?)),
        }
    }
}

impl Tests {
    /// Adds a test on a store in a file.
    fn add<F>(&mut self, name: &str, test: impl FnOnce(Ground) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.add_on(StoreKind::File, name, test);
    }

    /// Adds a test on a store in a file, and once more on a shared one.
    fn add_both<F>(&mut self, name: &str, test: impl FnOnce(Ground) -> F + Clone + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.add_on(StoreKind::File, name, test.clone());
        self.add_on(StoreKind::Shared, &format!("shared/{name}"), test);
    }

    /// Adds a test that starts a server of this kind for itself. Without such a server it is left
    /// out.
    fn add_with<F>(&mut self, kind: &str, name: &str, test: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        if self.absent.contains_key(kind) {
            return self.leave_out(name, kind);
        }
        self.add_on(StoreKind::File, name, |_| test());
    }

    fn leave_out(&mut self, name: &str, kind: &str) {
        let why = self.absent.get(kind).cloned().unwrap_or_default();
        self.trials.push(Trial::test(name, || Ok(())).with_kind(why).with_ignored_flag(true));
    }

    fn add_on<F>(&mut self, store: StoreKind, name: &str, test: impl FnOnce(Ground) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Some(server) = self.server.clone() else { return self.leave_out(name, &format!("postgres-{MAJOR}")) };
        let runtime = Arc::clone(&self.runtime);
        let run = move || -> Result<(), Failed> {
            let ground = Ground { server, store };
            // in a task, so that a test that blocks its thread fails as well
            let task = async { tokio::time::timeout(PATIENCE, tokio::spawn(test(ground))).await };
            let done = runtime.block_on(task).map_err(|_| format!("it takes longer than {PATIENCE:?}"))??;
            done.map_err(|error| Failed::from(format!("{error:#}")))
        };
        self.trials.push(Trial::test(name, run));
    }
}
