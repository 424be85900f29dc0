//! Calls of code that is not ours.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::said;
use crate::engine::tasks::Tasks;

/// Number of threads that one policy may keep busy at a time. A policy that hangs blocks no more
/// than these.
const THREADS: usize = 8;

/// Reason why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Failed {
    /// The code panicked with this message.
    Panicked(String),
    /// The call took longer than this limit.
    TooSlow(Duration),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(said) => write!(f, "its code panicked: {said}"),
            Self::TooSlow(limit) => write!(f, "it gave no answer within {} s", limit.as_secs_f32()),
        }
    }
}

/// Runner of foreign calls that cannot break anything but themselves.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Caught {
    tasks: Tasks,
    threads: Arc<Semaphore>,
}

impl Caught {
    pub(in crate::engine) fn new(tasks: &Tasks) -> Self {
        Self { tasks: tasks.clone(), threads: Arc::new(Semaphore::new(THREADS)) }
    }

    /// Runs a call that returns at once.
    pub(super) fn now<T>(&self, call: impl FnOnce() -> T) -> Result<T, Failed> {
        catch_unwind(AssertUnwindSafe(call)).map_err(|panic| Failed::Panicked(said(&*panic)))
    }

    /// Runs a call that waits for something.
    pub(super) async fn within<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Result<T, Failed> {
        match self.tasks.within(limit, AssertUnwindSafe(call).catch_unwind()).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(panic)) => Err(Failed::Panicked(said(&*panic))),
            None => Err(Failed::TooSlow(limit)),
        }
    }

    /// Runs a call that waits for something, in a task of its own. If the call blocks its thread
    /// instead, the caller goes on all the same.
    pub(super) async fn apart<T, F>(&self, limit: Duration, call: F) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        if self.tasks.is_gated() {
            return self.within(limit, call).await;
        }
        let mut task = Aborting(self.tasks.spawn(call));
        match self.tasks.within(limit, &mut task.0).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Failed::Panicked(match error.try_into_panic() {
                Ok(panic) => said(&*panic),
                Err(_) => "it was interrupted".to_owned(),
            })),
            None => Err(Failed::TooSlow(limit)),
        }
    }

    /// Runs a call that may compute for long, on a blocking thread. A call that hangs there delays
    /// nobody else.
    pub(super) async fn thread<T, F>(&self, limit: Duration, call: F) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.tasks.is_gated() {
            return self.now(call);
        }
        let threads = Arc::clone(&self.threads);
        let answer = async move {
            let Ok(permit) = threads.acquire_owned().await else { return Err("it was interrupted".to_owned()) };
            let call = move || {
                let _permit = permit;
                call()
            };
            tokio::task::spawn_blocking(call).await.map_err(|error| match error.try_into_panic() {
                Ok(panic) => said(&*panic),
                Err(_) => "it was interrupted".to_owned(),
            })
        };
        match self.tasks.within(limit, answer).await {
            Some(answer) => answer.map_err(Failed::Panicked),
            None => Err(Failed::TooSlow(limit)),
        }
    }
}

/// Task that is aborted when this is dropped.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
