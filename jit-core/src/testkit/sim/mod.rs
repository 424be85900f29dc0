//! The simulator: the real engine on several nodes, over a simulated store, databases, clocks, receivers of notices, outside systems that
//! decide, and people with second factors, who delegate, take roles in emergencies and review that. One seed is one
//! history, byte for byte, with faults at every await; the laws of the design are looked after at every commit, at every statement
//! and after every step. A history that breaks one is made as short as possible.
//!
//! Where the store fails over to a replica that is behind, its nodes are started again: one that lived through it would still have in
//! its hands what it read before. Servers come to answer under another's name, copies of them among those, and accounts are renamed.
//! Not in a history are targets that are retired, and prepared transactions.

mod clock;
mod database;
mod draw;
mod finish;
mod hands;
mod laws;
mod node;
mod outside;
mod people;
mod policy;
mod random;
mod report;
mod shrink;
mod stage;
mod steps;
mod store;
mod world;

pub use report::{Failure, Report};

use self::laws::{Violation, broken};
use self::shrink::shrink;
use self::stage::Stage;
use self::steps::History;

/// How histories are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many steps a history has.
    pub steps: usize,
    /// Whether one that breaks a law is made shorter.
    pub shrinks: bool,
    /// Whether names lead to other servers and to copies, and accounts are renamed, in a part of the histories. Not every history of that kind
    /// holds yet.
    pub moves: bool,
}

impl Default for Options {
    /// 220 steps, and what fails is made shorter; nothing moves.
    fn default() -> Self {
        Self { steps: 220, shrinks: true, moves: false }
    }
}

/// Runs the history of this seed.
///
/// # Errors
/// [`Failure`] where a law was broken, with the steps that are enough for it.
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
        let mut stage = match Stage::open(history, keep_trace).await {
            Ok(stage) => stage,
            Err(error) => return (Err(broken(0, format!("no stage: {error}"))), Vec::new()),
        };
        if let Err(error) = play(&mut stage, history).await {
            stage.world.hold(Err(broken(0, format!("the simulator failed: {error}"))));
        }
        stage.close();
        let world = &stage.world;
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

async fn play(stage: &mut Stage, history: &History) -> Result<(), crate::store::BoxError> {
    for (number, step) in &history.steps {
        stage.world.begin(*number);
        if history.replicated {
            stage.world.replicate();
        }
        stage.take(*step).await?;
        stage.world.look();
        if stage.world.failure().is_some() {
            return Ok(());
        }
    }
    stage.finish().await
}
