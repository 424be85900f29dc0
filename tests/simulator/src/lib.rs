//! The simulator runs the real engine on several nodes. The store, the databases, the clocks, the
//! notifiers and the outside systems that decide are simulated. So are people with second factors,
//! who delegate, take roles in emergencies and review these.
//!
//! One seed is one history, byte for byte, with faults at every await. The laws are checked at
//! every commit, at every statement and after every step. A history that breaks a law is made as
//! short as possible.
//!
//! If the store fails over to a replica that is behind, its nodes are started again: a node that
//! lived through it would still hold what it read before. Servers come to answer under another
//! server's name, copies of servers among them, and accounts are renamed. Histories contain no
//! retired targets and no prepared transactions.

mod clock;
mod database;
mod draw;
mod finish;
mod hands;
mod laws;
mod node;
mod people;
mod policy;
mod random;
mod report;
mod running;
mod shrink;
mod steps;
mod store;
mod systems;
mod world;

pub use report::{Failure, Report};

use self::laws::{Violation, broken};
use self::running::Running;
use self::shrink::shrink;
use self::steps::History;

/// Options for making histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Number of steps in a history.
    pub steps: usize,
    /// Flag: a history that breaks a law is made shorter.
    pub shrinks: bool,
    /// Flag: in a part of the histories, names lead to other servers and to copies, and accounts
    /// are renamed. Not every history of that kind holds yet.
    pub moves: bool,
}

impl Default for Options {
    /// Returns 220 steps, with shrinking of failures; nothing moves.
    fn default() -> Self {
        Self { steps: 220, shrinks: true, moves: false }
    }
}

/// Runs the history of this seed.
///
/// # Errors
/// Returns [`Failure`] if a law was broken, with the steps that are enough to break it.
pub fn simulate(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let history = History::of(seed, options);
    let violation = match run(&history, false).0 {
        Ok(report) => return Ok(report),
        Err(violation) => violation,
    };
    let history = if options.shrinks {
        shrink(&history, violation.law, |shorter| run(shorter, false).0.err().map(|violation| violation.law))
    } else {
        history
    };
    let (again, trace) = run(&history, true);
    let violation = again.err().unwrap_or(violation);
    Err(Box::new(Failure::new(&history, &violation, trace)))
}

/// Runs a history on a runtime of its own, whose time is simulated.
fn run(history: &History, keep_trace: bool) -> (Result<Report, Violation>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return (Err(broken(0, format!("no runtime: {error}"))), Vec::new()),
    };
    runtime.block_on(async {
        let mut running = match Running::open(history, keep_trace).await {
            Ok(running) => running,
            Err(error) => return (Err(broken(0, format!("no stage: {error}"))), Vec::new()),
        };
        if let Err(error) = play(&mut running, history).await {
            running.world.hold(Err(broken(0, format!("the simulator failed: {error}"))));
        }
        running.close();
        let world = &running.world;
        let (hash, lines) = world.trace();
        let answer = match world.failure() {
            Some(violation) => Err(violation),
            None => {
                let inside = world.inside();
                let mut counts = inside.tally.clone();
                counts.extend(inside.oracle.came_about.clone());
                Ok(Report {
                    seed: history.seed,
                    events: history.steps.len(),
                    nodes: history.nodes,
                    accesses: inside.oracle.order.len(),
                    overlaps: inside.oracle.overlaps,
                    counts,
                    trace: hash,
                })
            }
        };
        (answer, lines)
    })
}

async fn play(running: &mut Running, history: &History) -> Result<(), jit_core::store::BoxError> {
    for (number, step) in &history.steps {
        running.world.begin(*number);
        if history.replicated {
            running.world.replicate();
        }
        running.take(*step).await?;
        running.world.look();
        if running.world.failure().is_some() {
            return Ok(());
        }
    }
    running.finish().await
}
