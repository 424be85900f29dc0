//! Settling: making sure that nothing of earlier calls can still arrive.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use super::time::ServerClock;
use crate::clock::{Time, span, to_std};
use crate::database::{DatabaseError, Identity, SettleOrder};

/// Returns the time that settling may take. The latest of the earlier calls may arrive until
/// `last`, and a call may take `limit`. Both times are of the server's clock.
///
/// # Errors
/// [`DatabaseError::NotApplied`] if that is longer than anybody waits.
pub(super) fn settle_limit(now: Time, last: Time, limit: Duration) -> Result<Duration, DatabaseError> {
    let wait = to_std(span(now, last));
    if wait > LONGEST_SETTLE {
        let why = format!("an earlier call may still arrive until {last}, by the server's clock");
        return Err(DatabaseError::not_applied(why));
    }
    Ok(limit.saturating_add(wait).saturating_add(limit))
}

/// Connection by which a pool settles earlier calls.
///
/// A call must show its label before anything else, and compare its deadline with the server's
/// clock. A call that is under way is found by its label and ended. A call that was not sent yet
/// shows nothing, and the server refuses it after its deadline. So settling waits for the deadline,
/// and looks again for a call that slipped in just before.
pub trait Settling: Send {
    /// Returns the server's clock, as it was last read.
    fn clock(&self) -> &ServerClock;

    /// Reads which server answers.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    fn identity(&mut self) -> impl Future<Output = Result<Identity, DatabaseError>> + Send;

    /// Reads the server's clock.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    fn now(&mut self) -> impl Future<Output = Result<Time, DatabaseError>> + Send;

    /// Ends the broker's connections that show one of these labels, and waits until they are gone.
    /// Returns the labels that had one.
    ///
    /// # Errors
    /// See [`DatabaseError`]; also an error if one does not end.
    fn end_labelled(&mut self, labels: &[&str])
    -> impl Future<Output = Result<BTreeSet<String>, DatabaseError>> + Send;
}

/// Makes sure that nothing of these earlier calls can still arrive (law 15).
///
/// # Errors
/// See [`Settling`]. The caller may then conclude nothing.
pub(super) async fn settle(server: &mut impl Settling, orders: &[SettleOrder]) -> Result<(), DatabaseError> {
    let mut open: Vec<&SettleOrder> = orders.iter().collect();
    while !open.is_empty() {
        // The clock is read before the labels. A call that passed its deadline check did so before
        // this reading, and shows its label.
        let now = server.now().await?;
        let labels: Vec<&str> = open.iter().map(|order| order.label.as_str()).collect();
        let found = server.end_labelled(&labels).await?;
        open.retain(|order| order.not_after >= now && !found.contains(&order.label));
        if let Some(first) = open.iter().map(|order| order.not_after).min() {
            // A little more, so that one further look is enough.
            let wait = to_std(span(now, first)).saturating_add(Duration::from_millis(2));
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

/// Says that earlier connections of the broker were told to end, and are still there.
#[must_use]
pub fn not_ended(kind: &str, ids: impl IntoIterator<Item = impl ToString>) -> DatabaseError {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    let ids = ids.join(", ");
    DatabaseError::not_applied(format!(
        "earlier connections of the broker were told to end and have not yet ({kind} {ids})"
    ))
}

/// Time to wait for the end of the broker's own earlier connections.
pub const UNTIL_GONE: Duration = Duration::from_secs(10);

/// Longest time that a `not_after` may lie ahead of the server's clock for settling to wait for it:
/// the longest time to grant, and a minute.
const LONGEST_SETTLE: Duration = Duration::from_secs(15 * 60 + 60);
