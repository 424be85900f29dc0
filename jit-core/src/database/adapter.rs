//! Shared parts of the adapters: the time left, the server's clock, one error for many orders,
//! settling, passwords in URLs.
#![expect(clippy::disallowed_methods, reason = "the adapters wait for real servers")]

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use secrecy::SecretString;

use super::{Call, Check, CheckSubject, DatabaseError, NameError, SettleOrder, Severity};
use crate::clock::{Time, after, span, to_std};
pub use crate::names::name_for;

/// Remaining time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    end: Instant,
}

impl Budget {
    /// Starts a budget of this length now.
    #[must_use]
    pub fn of(limit: Duration) -> Self {
        let now = Instant::now();
        Self { end: now.checked_add(limit).unwrap_or(now) }
    }

    /// Returns the time that is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Returns the time that the server may take for one statement. It is shorter than the rest, so
    /// that the server gives up before the client does.
    #[must_use]
    pub fn statement(&self) -> Duration {
        self.left().mul_f64(0.8)
    }

    /// Returns the time that a statement may wait for a lock.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.left().mul_f64(0.6)
    }
}

/// Server's clock, computed from its last reading on the connection.
#[derive(Debug)]
pub struct ServerClock(Mutex<(Instant, Time)>);

impl ServerClock {
    /// Starts with this reading of the clock.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self(Mutex::new((Instant::now(), now)))
    }

    /// Takes a new reading of the clock.
    pub fn read(&self, now: Time) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), now);
    }

    /// Returns the time that the clock will show after this delay.
    #[must_use]
    pub fn after(&self, delay: Duration) -> Time {
        let (instant, time) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = instant.elapsed().saturating_add(delay);
        after(time, TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX))
    }
}

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

/// Returns the time that settling may take. The latest of the earlier calls may arrive until
/// `last`, and a call may take `limit`. Both times are of the server's clock.
///
/// # Errors
/// [`DatabaseError::NotApplied`] if that is longer than anybody waits.
pub fn settle_limit(now: Time, last: Time, limit: Duration) -> Result<Duration, DatabaseError> {
    let wait = to_std(span(now, last));
    if wait > LONGEST_SETTLE {
        let why = format!("an earlier call may still arrive until {last}, by the server's clock");
        return Err(DatabaseError::not_applied(why));
    }
    Ok(limit.saturating_add(wait).saturating_add(limit))
}

/// Server operations that [`settle`] needs.
pub trait Settling: Send {
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

/// Makes sure that nothing of these earlier calls can still arrive (law 15). A call must show its
/// label before anything else, and compare its deadline with the server's clock.
///
/// A call that is under way is found by its label and ended. A call that was not sent yet shows
/// nothing, and the server refuses it after its deadline. So the function waits for the deadline,
/// and looks again for a call that slipped in just before.
///
/// # Errors
/// See [`Settling`]. The caller may then conclude nothing.
pub async fn settle(server: &mut impl Settling, orders: &[SettleOrder]) -> Result<(), DatabaseError> {
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

/// Says that the server did not answer a call that changes nothing.
#[must_use]
pub fn too_slow(limit: Duration) -> DatabaseError {
    DatabaseError::unreachable(format!("the server did not answer within {} s", limit.as_secs_f32()))
}

/// Answers all orders with an unknown outcome: the client's own limit is over, and everything may
/// have been sent.
#[must_use]
pub fn unknown_to_all<T>(count: usize, limit: Duration) -> Vec<Result<T, DatabaseError>> {
    let why = format!("no answer within {} s", limit.as_secs_f32());
    (0..count).map(|_| Err(DatabaseError::unknown(&why))).collect()
}

/// Answers all orders with the same error: nothing was sent.
#[must_use]
pub fn none_applied<T>(count: usize, error: &DatabaseError) -> Vec<Result<T, DatabaseError>> {
    (0..count).map(|_| Err(copied(error))).collect()
}

/// Copies the error for another order of the call, without its source.
#[must_use]
pub fn copied(error: &DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Unreachable { why, .. } => DatabaseError::unreachable(why),
        DatabaseError::NotApplied { why, .. } => DatabaseError::not_applied(why),
        DatabaseError::AnotherServer { why } => DatabaseError::AnotherServer { why: why.clone() },
        DatabaseError::OutcomeUnknown { why, .. } => DatabaseError::unknown(why),
        DatabaseError::Rejected { rejection, why, .. } => DatabaseError::rejected(*rejection, why),
    }
}

/// Checks whether every order has a certain answer, so that the connection may serve the next call.
/// A connection that leads to another server may not: the next one may lead to the right server.
#[must_use]
pub fn all_certain<T>(results: &[Result<T, DatabaseError>]) -> bool {
    let uncertain = |result: &Result<T, DatabaseError>| {
        matches!(
            result,
            Err(DatabaseError::OutcomeUnknown { .. }
                | DatabaseError::Unreachable { .. }
                | DatabaseError::AnotherServer { .. })
        )
    };
    !results.iter().any(uncertain)
}

/// Fix, in a sentence, for a dead man's switch whose table, routines or rights are missing.
pub const HOW_TO_MAKE: &str = "run the check of this target, which prints the statements that make it";

/// Says that the server refuses the order because it came after its `not_after`.
#[must_use]
pub fn late() -> DatabaseError {
    DatabaseError::not_applied("it reached the server after its deadline, by the server's clock")
}

/// Makes the error for a name that cannot be taken, with its control characters escaped.
#[must_use]
pub fn refused_name(what: &'static str, name: &str, why: &str) -> NameError {
    let given = crate::text::escaped(name).chars().take(80).collect();
    NameError { what, given, why: why.to_owned() }
}

/// Makes one finding of a check. `about` is its stable word and the object.
#[must_use]
pub fn finding(
    severity: Severity,
    about: (&str, Option<String>),
    message: impl Into<String>,
    remedy: Option<String>,
) -> Check {
    let about = CheckSubject { what: about.0.to_owned(), on: about.1 };
    Check { severity, about, message: message.into(), remedy }
}

/// Splits `scheme://user:password@rest` into the URL without the password, and the password. The
/// scheme must be one of those given.
///
/// # Errors
/// The reason why the URL cannot be read; it never holds any of the password.
pub fn without_password(schemes: &[&str], url: &str) -> Result<(String, Option<SecretString>), String> {
    let scheme = schemes.iter().find(|scheme| url.starts_with(**scheme));
    let Some((scheme, rest)) = scheme.and_then(|scheme| Some((scheme, url.strip_prefix(scheme)?))) else {
        return Err(format!("the URL does not begin with {}", schemes.join(" or ")));
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        let why = "the URL has an @ after the host: percent-encode special characters of user and password \
                   (`/` is %2F, `?` is %3F, `@` is %40)";
        return Err(why.to_owned());
    }
    let Some((user_info, host)) = authority.rsplit_once('@') else {
        return Ok((url.to_owned(), None));
    };
    let Some((user, password)) = user_info.split_once(':') else {
        return Ok((url.to_owned(), None));
    };
    let password =
        percent_decoded(password).ok_or("the password in the URL is not percent-encoded right: write `%` as %25")?;
    let password = (!password.is_empty()).then(|| SecretString::from(password));
    Ok((format!("{scheme}{user}@{host}{path}"), password))
}

/// Decodes percent-encoding: `%41` is `A`. Returns `None` if the text is not encoded right.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn law_12_a_password_in_a_url_is_taken_out_of_it() {
        let (clean, password) = without_password(&["postgres://"], "postgres://u:p%40ss@h/d").unwrap();
        assert_eq!(clean, "postgres://u@h/d");
        assert_eq!(password.unwrap().expose_secret(), "p@ss");
        for wrong in ["postgres://u:hunter2/x@h/d", "postgres://u:hun%ter2@h/d", "hunter2"] {
            let error = without_password(&["postgres://", "postgresql://"], wrong).unwrap_err();
            assert!(!error.contains("hunt"), "{error}");
        }
    }
}
