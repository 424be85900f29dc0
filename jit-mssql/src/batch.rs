//! Call that changes something. Its orders go in batches, each one transaction of one round trip.
//! While a batch waits, its blocker is found out.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::clock::{Time, whole_micros};
use jit_core::database::{Call, DatabaseError, Membership};
use jit_core::internal::adapter::{Budget, copied, late, none_applied};
use tiberius::Row;

use crate::connect::{Connection, Connector, Server, Value};
use crate::error;
use crate::observe::{MembershipRow, values};
use crate::row::Columns;
use crate::sql::{self, ROWS};

/// Answer of the server to one order.
#[derive(Debug, Clone)]
pub(crate) struct OrderResult {
    /// State of the order: `ok`, or a word of the statement.
    pub(crate) state: String,
    /// Number of the server's error, if it was one.
    pub(crate) number: Option<u32>,
    /// Message of the server's error, or more about the word.
    pub(crate) why: Option<String>,
}

/// Kind of orders: how they are sent, and what the statement's own words mean.
pub(crate) trait Orders {
    /// Result that comes with the answers, for one order.
    type Shown;
    /// Returns the batch for so many orders.
    fn text(server: &Server, call: &Call, rows: usize, lock_wait_ms: u128) -> String;
    /// Returns the membership of one order.
    fn membership(&self, order: usize) -> Option<&Membership>;
    /// Returns the order's deadline by the server's own clock, and its two flags, powers and
    /// actors.
    fn terms(&self, order: usize) -> (Time, bool, bool);
    /// Reads the results behind the answers, one for each of these orders.
    fn shown(
        &self,
        connection: &Connection,
        results: &[Vec<Row>],
        orders: &[usize],
    ) -> Result<Vec<Self::Shown>, DatabaseError>;
    /// Translates an answer to the order that is neither `ok` nor an error.
    fn refusal(&self, order: usize, answer: &OrderResult) -> Option<DatabaseError>;
}

/// Number of tries for an order that another change collided with, or that a doomed transaction
/// took with it.
const TRIES: u32 = 20;

/// Part of the remaining time that one order waits while others, of other roles, wait behind it.
const SHORT_WAIT: f64 = 0.15;

/// Sends the orders, and tries again those that may be tried again. Returns one result per order.
pub(crate) async fn drive<O: Orders>(
    connector: &Connector,
    connection: &mut Connection,
    call: &Call,
    budget: Budget,
    all: &O,
    count: usize,
) -> Vec<Result<O::Shown, DatabaseError>> {
    if let Err(error) = connection.meant(call) {
        return none_applied(count, &error);
    }
    let mut results: Vec<Result<O::Shown, DatabaseError>> =
        (0..count).map(|_| Err(DatabaseError::not_applied("it was not sent in time"))).collect();
    let mut pending: Vec<usize> = (0..count).collect();
    let mut tries = 0_u32;
    while !pending.is_empty() && tries < TRIES.saturating_add(u32::try_from(count / ROWS).unwrap_or_default()) {
        tries = tries.saturating_add(1);
        let rest = pending.split_off(ROWS.min(pending.len()));
        let batch = std::mem::replace(&mut pending, rest);
        if tries > 1 && budget.statement() < Duration::from_millis(50) {
            break;
        }
        let again = once(connector, connection, call, budget, all, &batch, &mut results).await;
        if !connection.is_sound() {
            break;
        }
        // Behind those that were never sent.
        pending.extend(again);
    }
    results
}

/// Runs one batch. Returns the orders that have to be sent again.
async fn once<O: Orders>(
    connector: &Connector,
    connection: &mut Connection,
    call: &Call,
    budget: Budget,
    all: &O,
    batch: &[usize],
    results: &mut [Result<O::Shown, DatabaseError>],
) -> Vec<usize> {
    let roles: BTreeSet<&str> =
        batch.iter().filter_map(|&i| all.membership(i)).map(|membership| membership.role.as_str()).collect();
    let wait = if roles.len() > 1 { budget.left().mul_f64(SHORT_WAIT) } else { budget.patience() };
    // Orders of a call that was given up must not be done later.
    let until = whole_micros(connection.server.clock.after(budget.statement()));
    let rows: Vec<MembershipRow<'_>> = batch
        .iter()
        .filter_map(|&i| {
            let (not_after, powers, actors) = all.terms(i);
            Some(MembershipRow { membership: all.membership(i)?, not_after: not_after.min(until), powers, actors })
        })
        .collect();
    let text = O::text(&connection.server, call, rows.len(), wait.as_millis().max(1));
    let session = connection.server.session;
    let sent = connection.run(&text, values(&rows));
    let (mut answered, blocker) = watched(connector, session, wait, sent).await;
    let answers = match answered.results.first().map(|rows| answers_of(rows)) {
        Some(Ok(answers))
            if answers.len() == batch.len()
                || answers.iter().any(|(_, answer)| answer.state == "again" || answer.number.is_some()) =>
        {
            answers
        }
        _ => {
            let error = match answered.error.take() {
                Some(error) if error.code() == Some(1222) => locked(blocker.as_deref(), "the catalog"),
                Some(error) => error::changing(error),
                None => DatabaseError::unknown("the server's answer could not be read"),
            };
            batch.iter().for_each(|&order| set(results, order, Err(copied(&error))));
            return Vec::new();
        }
    };
    let behind = answered.results.get(1..).unwrap_or_default();
    let shown = match answered.error.take() {
        Some(error) => {
            Err(DatabaseError::unknown(format!("the server failed right behind its answers: {}", error::said(&error))))
        }
        None => all.shown(connection, behind, batch),
    };
    let mut shown = match shown {
        Ok(shown) => shown.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => batch.iter().map(|_| Err(DatabaseError::unknown(error.with_causes()))).collect(),
    }
    .into_iter();
    let mut again = Vec::new();
    for (n, &order) in batch.iter().enumerate() {
        let seen = shown.next().unwrap_or_else(|| Err(DatabaseError::unknown("the server did not show what it did")));
        let answer = answers.iter().find(|(index, _)| *index == n).map(|(_, answer)| answer);
        match answer {
            // A doomed transaction ended before it came to this order.
            None => again.push(order),
            Some(answer) if answer.state == "again" || error::is_a_collision(answer.number) => {
                set(results, order, Err(DatabaseError::not_applied("other changes of the same roles came in between")));
                again.push(order);
            }
            Some(answer) if ["ok", "nothing", "theirs"].contains(&answer.state.as_str()) => set(results, order, seen),
            Some(answer) => {
                let role = all.membership(order).map(|membership| membership.role.as_str()).unwrap_or_default();
                let refusal = match (answer.state.as_str(), answer.number) {
                    ("late", _) => Some(late()),
                    ("locked", _) | (_, Some(1222)) => Some(locked(blocker.as_deref(), role)),
                    ("error", Some(number)) => {
                        Some(error::from_number(number, answer.why.as_deref().unwrap_or_default()))
                    }
                    _ => all.refusal(order, answer),
                };
                let refusal = refusal
                    .unwrap_or_else(|| DatabaseError::unknown(format!("the server answered `{}`", answer.state)));
                set(results, order, Err(refusal));
            }
        }
    }
    again
}

fn set<T>(results: &mut [Result<T, DatabaseError>], order: usize, result: Result<T, DatabaseError>) {
    if let Some(place) = results.get_mut(order) {
        *place = result;
    }
}

fn locked(blocker: Option<&str>, what: &str) -> DatabaseError {
    let who = blocker.unwrap_or("a session that could not be found out");
    DatabaseError::not_applied(format!(
        "`{what}` is locked by {who}: an open transaction that changed it or its members must end first"
    ))
}

fn answers_of(rows: &[Row]) -> Result<Vec<(usize, OrderResult)>, DatabaseError> {
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let n = usize::try_from(row.int("n")?).unwrap_or(usize::MAX);
        let number = row.maybe_int("number")?.and_then(|number| u32::try_from(number).ok());
        answers.push((n, OrderResult { state: row.text("state")?, number, why: row.maybe_text("why")? }));
    }
    Ok(answers)
}

/// Waits for the work. If that takes half of its patience, finds out its blocker on a connection of
/// its own: afterwards nobody could say.
async fn watched<T>(
    connector: &Connector,
    session: i32,
    wait: Duration,
    work: impl Future<Output = T>,
) -> (T, Option<String>) {
    let look = async {
        tokio::time::sleep(wait.mul_f64(0.5)).await;
        blocker(connector, session).await
    };
    tokio::pin!(work, look);
    tokio::select! {
        biased;
        done = &mut work => (done, None),
        blocker = &mut look => (work.await, blocker),
    }
}

async fn blocker(connector: &Connector, session: i32) -> Option<String> {
    let mut other = connector.connect().await.ok()?;
    let results = other.run(sql::BLOCKERS, vec![Value::Int(session)]).await.all().ok()?;
    let row = results.first()?.first()?;
    let (id, login) = (row.int("session_id").ok()?, row.maybe_text("login").ok()?.unwrap_or_default());
    let status = row.maybe_text("status").ok()?.unwrap_or_default();
    Some(format!("session {id} of `{login}` ({status})"))
}
