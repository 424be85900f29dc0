//! Revoking: take the membership, then end sessions, then look. The order matters: a client whose
//! session ends before the membership is gone comes back and has the role again. KILL is not
//! allowed in a transaction, so it follows the commit.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use jit_core::clock::{Time, after};
use jit_core::database::{Call, DatabaseError, Membership, RevokeHow, RevokeOrder, RevokeReport, Session};
use jit_core::internal::adapter::Budget;
use jit_core::policy::Sessions;
use tiberius::Row;

use crate::batch::{OrderResult, Orders, drive};
use crate::connect::{Connection, Connector, Server};
use crate::observe::{Backend, Look, Moment};
use crate::sql;

/// Revokes the memberships. Returns one result per order.
pub(crate) async fn revoke(
    connector: &Connector,
    connection: &mut Connection,
    call: &Call,
    orders: &[RevokeOrder],
    budget: Budget,
) -> Vec<Result<RevokeReport, DatabaseError>> {
    let mut taken = drive(connector, connection, call, budget, &Revokes(orders), orders.len()).await;
    again_without_sessions(connector, connection, call, orders, budget, &mut taken).await;
    let mut reports = Vec::with_capacity(taken.len());
    let mut revoked = Vec::new();
    for (order, taken) in orders.iter().zip(taken) {
        match taken {
            Ok((moment, look)) => {
                reports.push(None);
                let theirs = look.seen.marked_by.as_ref().is_some_and(|store| call.is_another(store));
                revoked.push(Revoked { order, moment, first: look, theirs });
            }
            Err(error) => reports.push(Some(Err(error))),
        }
    }
    let after = if connection.is_sound() || revoked.is_empty() {
        aftermath(connection, call, revoked, budget).await
    } else {
        let count = revoked.len();
        let gone = || DatabaseError::unknown("the connection was lost behind the statement");
        (0..count).map(|_| Err(gone())).collect()
    };
    let mut after = after.into_iter();
    let next = |done: Option<_>| done.or_else(|| after.next());
    reports
        .into_iter()
        .map(next)
        .map(|one| one.unwrap_or_else(|| Err(DatabaseError::unknown("there is no report"))))
        .collect()
}

/// Ends the sessions of accounts whose role could not be taken because of a lock, and tries once
/// more. The lock may be one of theirs, and its holder cannot always be told. Sessions that they
/// open meanwhile end behind the statement.
async fn again_without_sessions(
    connector: &Connector,
    connection: &mut Connection,
    call: &Call,
    orders: &[RevokeOrder],
    budget: Budget,
    taken: &mut [Result<(Moment, Look), DatabaseError>],
) {
    let waits = |(order, result): &(&RevokeOrder, &Result<_, DatabaseError>)| {
        order.sessions == Sessions::End && matches!(result, Err(DatabaseError::NotApplied { .. }))
    };
    let places: Vec<usize> =
        orders.iter().zip(taken.iter()).enumerate().filter(|(_, one)| waits(one)).map(|(place, _)| place).collect();
    if places.is_empty() {
        return;
    }
    // A connection that met the lock while it read the catalog is closed.
    if !connection.is_sound() {
        let Ok(fresh) = connector.connect().await else { return };
        *connection = fresh;
    }
    let held: Vec<RevokeOrder> = places.iter().filter_map(|&place| orders.get(place).cloned()).collect();
    let Ok(theirs) = connection.sessions_by_id(held.iter().map(|order| &order.membership)).await else { return };
    if theirs.is_empty() || connection.end_sessions(call, &theirs, budget).await.is_err() {
        return;
    }
    let second = drive(connector, connection, call, budget, &Revokes(&held), held.len()).await;
    for (place, result) in places.into_iter().zip(second) {
        if let Some(first) = taken.get_mut(place) {
            *first = result;
        }
    }
}

struct Revokes<'a>(&'a [RevokeOrder]);

impl Orders for Revokes<'_> {
    type Shown = (Moment, Look);

    fn text(server: &Server, call: &Call, rows: usize, lock_wait_ms: u128) -> String {
        sql::revoke(server.scope, &server.broker_login, call.store.as_ref(), &call.label, rows, lock_wait_ms)
    }

    fn membership(&self, order: usize) -> Option<&Membership> {
        self.0.get(order).map(|order| &order.membership)
    }

    /// Returns the order's terms. The server cannot withhold `SET ROLE`, so there is nothing to
    /// narrow. A revoke has no deadline but its call's.
    fn terms(&self, order: usize) -> (Time, bool, bool) {
        let removes = self.0.get(order).is_some_and(|order| order.how == RevokeHow::Remove);
        (Time::MAX_UTC, removes, true)
    }

    fn shown(
        &self,
        connection: &Connection,
        results: &[Vec<Row>],
        orders: &[usize],
    ) -> Result<Vec<(Moment, Look)>, DatabaseError> {
        let memberships: Vec<&Membership> = orders.iter().filter_map(|&order| self.membership(order)).collect();
        let (moment, looks) = connection.shown(results, &memberships)?;
        Ok(looks.into_iter().map(|look| (moment.clone(), look)).collect())
    }

    fn refusal(&self, _: usize, _: &OrderResult) -> Option<DatabaseError> {
        None
    }
}

/// Order whose membership is gone, with a look taken right behind the commit.
struct Revoked<'a> {
    order: &'a RevokeOrder,
    moment: Moment,
    first: Look,
    /// Membership was left to another store, which accounts for it.
    theirs: bool,
}

/// Rounding of a session's beginning: the server keeps it to 1/300 s.
const ROUNDED: TimeDelta = TimeDelta::milliseconds(4);

impl Revoked<'_> {
    /// Returns the sessions that can have used the role and whose end was ordered.
    fn to_end(&self, look: &Look) -> BTreeSet<Backend> {
        if self.theirs || self.order.sessions != Sessions::End {
            return BTreeSet::new();
        }
        let edge = after(self.moment.now, ROUNDED);
        let all = look.backends.iter().zip(&look.seen.sessions);
        let old = all.filter(|(_, session)| session.since.is_none_or(|since| since <= edge));
        old.map(|(backend, _)| backend.clone()).collect()
    }

    fn report(self, last: &Moment, look: Look) -> RevokeReport {
        let ended = match self.order.sessions {
            Sessions::End if !self.theirs => gone(&self.first, &look),
            Sessions::End | Sessions::Keep => Vec::new(),
        };
        let mut seen = look.seen;
        // The mark as it was when the membership was to be taken.
        seen.marked_by = self.first.seen.marked_by;
        let mut report = RevokeReport::new(last.identity.clone(), seen, self.moment.now);
        report.server_time = last.now;
        report.ended = ended;
        report
    }
}

/// Ends the sessions of all orders together, and looks again.
async fn aftermath(
    connection: &mut Connection,
    call: &Call,
    revoked: Vec<Revoked<'_>>,
    budget: Budget,
) -> Vec<Result<RevokeReport, DatabaseError>> {
    let mut looks: Vec<Look> = revoked.iter().map(|one| one.first.clone()).collect();
    let mut last: Option<Moment> = None;
    let mut known = BTreeSet::new();
    // The second round is for sessions that were logging in during the first look.
    for _ in 0..2 {
        let all = revoked.iter().zip(&looks).flat_map(|(one, look)| one.to_end(look));
        let to_end: BTreeSet<Backend> = all.filter(|backend| !known.contains(backend)).collect();
        if to_end.is_empty() {
            break;
        }
        let memberships: Vec<&Membership> = revoked.iter().map(|one| &one.order.membership).collect();
        let ending = async {
            connection.end_sessions(call, &to_end, budget).await?;
            connection.look(&memberships).await
        };
        match ending.await {
            Ok((moment, seen)) => (last, looks) = (Some(moment), seen),
            Err(error) => {
                let why = format!("the statement was applied, and looking afterwards failed: {}", error.with_causes());
                return revoked.iter().map(|_| Err(DatabaseError::unknown(&why))).collect();
            }
        }
        known.extend(to_end);
    }
    let reports = revoked.into_iter().zip(looks);
    reports
        .map(|(one, look)| {
            let last = last.clone().unwrap_or_else(|| one.moment.clone());
            Ok(one.report(&last, look))
        })
        .collect()
}

/// Returns sessions that were there and no longer are.
fn gone(before: &Look, now: &Look) -> Vec<Session> {
    let all = before.backends.iter().zip(&before.seen.sessions);
    all.filter(|(backend, _)| !now.backends.contains(backend)).map(|(_, session)| session.clone()).collect()
}
