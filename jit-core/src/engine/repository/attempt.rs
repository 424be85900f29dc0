//! Changes of records that others change too: each is tried until nobody is in the way.

use crate::clock::Time;
use crate::engine::error::JitError;
use crate::store::StoreError;

/// Number of times a change is tried while others change the same records.
pub(in crate::engine) const TRIES: usize = 64;

/// Outcome of one attempt to change records.
#[derive(Debug)]
pub(in crate::engine) enum Attempt<T> {
    /// The change is committed, or there was nothing to change.
    Done(T),
    /// Somebody else changed a record meanwhile: read and decide again.
    Overtaken,
}

impl<T> Attempt<T> {
    /// Changes the result of an attempt that was done.
    pub(in crate::engine) fn map<U>(self, change: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(done) => Attempt::Done(change(done)),
            Self::Overtaken => Attempt::Overtaken,
        }
    }
}

/// Makes attempts until one is done or fails. Yields [`Attempt::Overtaken`] if somebody else was in
/// the way each time.
///
/// It takes an `async` block that yields `Result<Attempt<_>, _>` and runs it anew each time. A
/// function would take an `AsyncFnMut`, but the futures of these are not known to be [`Send`].
macro_rules! retry {
    ($attempt:expr) => {{
        let mut outcome = Ok($crate::engine::repository::attempt::Attempt::Overtaken);
        for _ in 0..$crate::engine::repository::attempt::TRIES {
            outcome = $attempt.await;
            if !matches!(outcome, Ok($crate::engine::repository::attempt::Attempt::Overtaken)) {
                break;
            }
        }
        outcome
    }};
}

/// Makes attempts as [`retry`] does. Yields what was committed, or [`JitError::Busy`] if somebody
/// else was in the way each time.
macro_rules! until_committed {
    ($attempt:expr) => {
        $crate::engine::repository::attempt::or_busy($crate::engine::repository::attempt::retry!($attempt))
    };
}

pub(in crate::engine) use {retry, until_committed};

/// Returns what was committed.
pub(in crate::engine) fn or_busy<T>(outcome: Result<Attempt<T>, JitError>) -> Result<T, JitError> {
    match outcome? {
        Attempt::Done(done) => Ok(done),
        Attempt::Overtaken => Err(JitError::Busy),
    }
}

/// Takes a commit that others prevented for done: they were faster, or took the claim over.
pub(in crate::engine) fn ignore_conflict(committed: Result<Time, StoreError>) -> Result<(), StoreError> {
    match committed {
        Ok(_) | Err(StoreError::Conflict { .. } | StoreError::Fenced { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Turns a command's error into what the pump makes of it: a store error, or a warning in the log.
pub(in crate::engine) fn only_store(error: JitError) -> Result<(), StoreError> {
    match error {
        JitError::Store(error) => Err(error),
        other => {
            tracing::warn!(error = %other, "left for the next pass");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_overtaken_tries_again_and_gives_up_in_the_end() {
        let mut tries = 0;
        let done = until_committed!(async {
            tries += 1;
            Ok(if tries < 3 { Attempt::Overtaken } else { Attempt::Done(tries) })
        });
        assert_eq!(done.unwrap(), 3);
        let mut tries = 0;
        let never = until_committed!(async {
            tries += 1;
            Ok::<Attempt<()>, _>(Attempt::Overtaken)
        });
        assert!(matches!(never, Err(JitError::Busy)));
        assert_eq!(tries, TRIES);
        let mut tries = 0;
        let failed = until_committed!(async {
            tries += 1;
            Err::<Attempt<()>, _>(JitError::invalid("no"))
        });
        assert!(matches!(failed, Err(JitError::Invalid { .. })));
        assert_eq!(tries, 1);
    }
}
