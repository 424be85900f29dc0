//! Changes of records that others change too: each is tried until nobody is in the way.

use super::error::JitError;

/// Number of times a change is tried while others change the same records.
pub(super) const TRIES: usize = 64;

/// Outcome of one attempt to change records.
#[derive(Debug)]
pub(super) enum Attempt<T> {
    /// The change is committed, or there was nothing to change.
    Done(T),
    /// Somebody else changed a record meanwhile: read and decide again.
    Overtaken,
}

impl<T> Attempt<T> {
    /// Changes the result of an attempt that was done.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Attempt<U> {
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
        let mut outcome = Ok($crate::engine::attempt::Attempt::Overtaken);
        for _ in 0..$crate::engine::attempt::TRIES {
            outcome = $attempt.await;
            if !matches!(outcome, Ok($crate::engine::attempt::Attempt::Overtaken)) {
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
        $crate::engine::attempt::or_busy($crate::engine::attempt::retry!($attempt))
    };
}

pub(super) use {retry, until_committed};

/// Returns what was committed.
pub(super) fn or_busy<T>(outcome: Result<Attempt<T>, JitError>) -> Result<T, JitError> {
    match outcome? {
        Attempt::Done(done) => Ok(done),
        Attempt::Overtaken => Err(JitError::Busy),
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
