//! A node: an engine whose tasks can be stopped at any await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::world::{Ambush, World};
use jit_core::internal;

/// Gate that decides when the tasks of a node may go on.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    waiting: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    panicked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    #[default]
    Runs,
    Paused,
    Dead,
}

/// Identity of a node's start.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) node: usize,
    pub(super) boot: u64,
    pub(super) gate: Arc<Gate>,
    pub(super) world: Arc<World>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn runs(&self) -> bool {
        self.state().mode == Mode::Runs
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state().mode == Mode::Dead
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.state().panicked
    }

    /// Ends every task where it is.
    pub(super) fn kill(&self) {
        let tasks = {
            let mut state = self.state();
            state.mode = Mode::Dead;
            state.waiting.clear();
            std::mem::take(&mut state.tasks)
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    fn pause(&self) {
        let mut state = self.state();
        if state.mode == Mode::Runs {
            state.mode = Mode::Paused;
        }
    }

    fn resume(&self) {
        let waiting = {
            let mut state = self.state();
            if state.mode != Mode::Paused {
                return;
            }
            state.mode = Mode::Runs;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl internal::Gate for Gate {
    fn admits(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.state();
        match state.mode {
            Mode::Runs => true,
            Mode::Paused => {
                state.waiting.push(context.waker().clone());
                false
            }
            Mode::Dead => false,
        }
    }

    fn spawned(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.tasks.len() > 256 {
            state.tasks.retain(|task| !task.is_finished());
        }
        state.tasks.push(task);
    }

    fn panicked(&self) {
        self.state().panicked = true;
    }

    /// Makes pauses of the log keeping longer: a history has many seconds, and little happens in
    /// most of them.
    fn pause(&self, how_long: Duration) -> Duration {
        how_long.saturating_mul(16)
    }
}

impl Who {
    /// Pauses the node for this long.
    pub(super) fn pause(&self, millis: u64) {
        self.world.count("node paused");
        self.world.stale(self.node);
        self.gate.pause();
        let who = self.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            who.world.stale(who.node);
            who.gate.resume();
        }));
    }

    /// Kills the node: its tasks end.
    pub(super) fn kill(&self) {
        self.world.count("node killed");
        self.world.disturbed();
        self.world.inside().oracle.desk_since = None;
        self.world.note(format_args!("node {} is killed", self.node));
        self.gate.kill();
    }

    /// Kills or pauses the node, before or after one of its calls, if the ambush is meant for this
    /// place.
    pub(super) async fn strike(&self, ambush: Option<&Ambush>, after: bool) {
        let Some(ambush) = ambush.filter(|ambush| ambush.after == after) else { return };
        match ambush.pause {
            Some(millis) => {
                self.pause(millis);
                tokio::task::yield_now().await;
            }
            None => {
                self.kill();
                std::future::pending::<()>().await;
            }
        }
    }
}
