//! Runs the laws of a database on every engine: `postgres-17/law_06_standing_membership_survives`.
//! Runs the laws of a store on every store: `store-sqlite/law_10_commits_and_looks_never_go_back`.

use std::sync::Arc;
use std::time::Duration;

use jit_core::testkit::database_laws::{DatabaseLaw, database_laws};
use jit_core::testkit::store_laws::{StoreLaw, store_laws};
use jit_tests::engine::Engine;
use jit_tests::places::Places;
use jit_tests::servers::Servers;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Longest time of one law on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::from_args();
    // most laws wait for a server most of the time
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let servers = Servers::of_this_run()?;
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(4).enable_all().build()?);
    let mut trials = Vec::new();
    for engine in Engine::all(&servers) {
        for law in database_laws() {
            trials.push(of_database(&runtime, engine.clone(), law));
        }
    }
    for places in Places::all(&servers) {
        for law in store_laws() {
            trials.push(of_store(&runtime, places.clone(), law));
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

fn of_database(runtime: &Arc<Runtime>, engine: Engine, law: DatabaseLaw) -> Trial {
    let name = format!("{}/{}", engine.name(), law.name);
    let ignored = engine.ignores(&law);
    let run = async move {
        let world = engine.world(&law).await.map_err(|error| format!("no world: {error:#}"))?;
        (law.run)(world).await.map_err(|error| with_causes(&*error))
    };
    trial(runtime, name, ignored, run)
}

fn of_store(runtime: &Arc<Runtime>, places: Places, law: StoreLaw) -> Trial {
    let name = format!("{}/{}", places.name(), law.name);
    let ignored = match &places {
        Places::Absent { why, .. } => Some(why.clone()),
        there => law.skipped(there).map(str::to_owned),
    };
    let run = async move { law.check(&places).await.map(|_| ()).map_err(|error| error.to_string()) };
    trial(runtime, name, ignored, run)
}

fn trial(
    runtime: &Arc<Runtime>,
    name: String,
    ignored: Option<String>,
    run: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Trial {
    let runtime = Arc::clone(runtime);
    let run = move || -> Result<(), Failed> {
        runtime.block_on(async {
            let done = tokio::time::timeout(PATIENCE, run).await;
            done.map_err(|_| format!("it takes longer than {PATIENCE:?}"))?.map_err(Failed::from)
        })
    };
    let trial = Trial::test(name, run);
    match ignored {
        // the reason is printed in the place of the test's kind
        Some(why) => trial.with_kind(why).with_ignored_flag(true),
        None => trial,
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
