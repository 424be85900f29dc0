//! The one place where tasks are spawned, so that a simulator can own them all.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;

/// Spawns tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks;

impl Tasks {
    /// Runs it to its end whoever waits for it.
    pub(super) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future)
    }

    /// Waits where the store cannot be asked to: only for its own return.
    pub(super) async fn pause(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }

    /// Gives up on it after so long.
    pub(super) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }
}
