//! Calls on connections that are lent.

use std::future::Future;
use std::time::Duration;

use super::answers::{all_certain, none_applied, too_slow, unknown_to_all};
use super::time::Budget;
use crate::database::{Call, DatabaseError};

/// Lends connections for calls.
pub trait Lends: Sync {
    /// A connection that is lent.
    type Lent: Lent;

    /// Waits until everything that a new connection needs is there: the password, whose source has
    /// a time limit of its own.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    fn ready(&self) -> impl Future<Output = Result<(), DatabaseError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Lends one connection within this time. Nothing was sent if this fails.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    fn lend(&self, limit: Duration) -> impl Future<Output = Result<Self::Lent, DatabaseError>> + Send;
}

/// A connection that is lent for one call. If it is dropped without being given back, it is closed
/// (a call that was cancelled, timed out or failed).
pub trait Lent: Send {
    /// Gives the connection back after the call ended and every answer was read. `certain` means
    /// that the answers leave nothing open. Otherwise the connection is closed, unless it knows
    /// itself to be in good order.
    fn give_back(self, certain: bool);
}

/// Makes a call that changes nothing, within this limit.
///
/// # Errors
/// The error of the work, or [`too_slow`] if it does not answer in time.
pub async fn read<P: Lends, T>(
    pool: &P,
    limit: Duration,
    work: impl AsyncFnOnce(&mut P::Lent) -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    pool.ready().await?;
    let mut lent = pool.lend(limit).await?;
    let result = tokio::time::timeout(limit, work(&mut lent)).await.map_err(|_| too_slow(limit))?;
    lent.give_back(!matches!(&result, Err(error) if error.is_unreachable()));
    result
}

/// Makes a call of `count` orders that changes something, within its own limit. Returns one answer
/// per order.
pub async fn change<P: Lends, T>(
    pool: &P,
    call: &Call,
    count: usize,
    work: impl AsyncFnOnce(&mut P::Lent, Budget) -> Vec<Result<T, DatabaseError>>,
) -> Vec<Result<T, DatabaseError>> {
    if count == 0 {
        return Vec::new();
    }
    let budget = Budget::of(call.limit);
    let ready = tokio::time::timeout(budget.left(), pool.ready()).await;
    if let Err(error) = ready.unwrap_or_else(|_| Err(DatabaseError::unreachable("the password is still being read"))) {
        return none_applied(count, &error);
    }
    let mut lent = match pool.lend(budget.left()).await {
        Ok(lent) => lent,
        Err(error) => return none_applied(count, &error),
    };
    match tokio::time::timeout(budget.left(), work(&mut lent, budget)).await {
        Ok(results) => {
            lent.give_back(all_certain(&results));
            results
        }
        Err(_) => unknown_to_all(count, call.limit),
    }
}
