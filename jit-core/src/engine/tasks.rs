//! The only place that spawns tasks, so that a simulator can own them all.
#![expect(clippy::disallowed_methods, reason = "this is the spawner")]
#![cfg_attr(not(feature = "testkit"), expect(unreachable_pub, reason = "a simulator is given the gate, nobody else"))]

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};

/// Spawner of all tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    /// Gate of the tasks; none leaves them to the runtime.
    pub(super) gate: Option<Arc<dyn Gate>>,
}

/// Decides when the tasks of an engine may go on.
pub trait Gate: Debug + Send + Sync + 'static {
    /// Checks whether a task may go on now; if not, it is woken when it may.
    fn admits(&self, context: &mut Context<'_>) -> bool;
    /// Notes that a task was spawned.
    fn spawned(&self, task: AbortHandle);
    /// Notes that a task panicked.
    fn panicked(&self);
    /// Returns the real length of a pause of the given length.
    fn pause(&self, how_long: Duration) -> Duration;
}

impl Tasks {
    /// Runs the future to its end, even if nobody waits for it.
    pub(super) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.gate {
            None => tokio::spawn(future),
            Some(gate) => spawn_gated(gate, future),
        }
    }

    /// Sleeps by this process's own clock, where a wait of the store cannot be used.
    pub(super) async fn pause(&self, how_long: Duration) {
        let how_long = self.gate.as_ref().map_or(how_long, |gate| gate.pause(how_long));
        tokio::time::sleep(how_long).await;
    }

    /// Checks whether a gate says when tasks may go on.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Reports a panic of the engine that was caught.
    pub(super) fn panicked(&self) {
        if let Some(gate) = &self.gate {
            gate.panicked();
        }
    }

    /// Runs the future and gives up on it after the limit.
    pub(super) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}

/// Spawns a task that goes through the gate.
pub fn spawn_gated<F>(gate: &Arc<dyn Gate>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = tokio::spawn(Gated { gate: Arc::clone(gate), future: Box::pin(future) });
    gate.spawned(task.abort_handle());
    task
}

struct Gated<F> {
    gate: Arc<dyn Gate>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.gate.admits(context) {
            return Poll::Pending;
        }
        let gate = Arc::clone(&self.gate);
        let _witness = Witness(&*gate);
        self.future.as_mut().poll(context)
    }
}

/// Tells the gate of a panic that unwinds past it.
struct Witness<'g>(&'g dyn Gate);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked();
        }
    }
}
