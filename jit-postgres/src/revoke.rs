//! Revoking: take the membership, then end sessions, then roll back prepared transactions, then
//! look. The order matters: a client whose session ends before the membership is gone comes back
//! and has the role again.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::clock::{Time, after};
use jit_core::database::{Call, DatabaseError, Membership, RevokeHow, RevokeOrder, RevokeReport, Session};
use jit_core::id::StoreId;
use jit_core::internal::adapter::{Budget, applied_unseen, late};
use jit_core::policy::{Prepared, Sessions};
use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::block::{Group, Orders, drive};
use crate::connect::{Connection, Connector, Statements};
use crate::observe::{Backend, Look, MembershipColumns, Moment};
use crate::prepared;
use crate::sql::{self, Catalog};
use crate::unblock::Unblock;

/// Revokes the memberships. Returns one result per order.
pub(crate) async fn revoke(
    connector: &Connector,
    connection: &Connection,
    call: &Call,
    orders: &[RevokeOrder],
    budget: Budget,
) -> Vec<Result<RevokeReport, DatabaseError>> {
    let memberships: Vec<Membership> = orders.iter().map(|order| order.membership.clone()).collect();
    connection.prepare_marks().await;
    let store = call.store.as_ref().filter(|_| connection.has_marks());
    let asked = Revokes { orders, catalog: connection.server.catalog, store };
    // The sessions of these accounts end anyway.
    let ending = orders.iter().filter(|order| order.sessions == Sessions::End && order.how != RevokeHow::Nothing);
    let ending: Vec<Membership> = ending.map(|order| order.membership.clone()).collect();
    let unblock = Unblock { connector, call, budget, memberships: ending };
    let unblock = (!unblock.memberships.is_empty()).then_some(&unblock);
    let pending = asked.that_need_a_statement();
    let told = !pending.is_empty();
    let outcome = drive(connection, call, budget, &asked, orders.len(), pending, (&memberships, unblock)).await;
    let mut marks = outcome.marks;
    marks.resize(orders.len(), None);
    // A membership that another store accounts for is left to that store.
    let theirs: Vec<bool> =
        marks.iter().map(|mark| mark.as_ref().is_some_and(|store| call.is_another(store))).collect();
    let after = match outcome.look {
        // The look came from another server than the one that got the orders, or no order was
        // needed.
        Ok((moment, _)) if call.meant_for(&moment.identity).is_err() => {
            let elsewhere = |result: Result<(), DatabaseError>| match result {
                Err(error) => Err(error),
                Ok(()) => match call.meant_for(&moment.identity) {
                    Err(error) if told => Err(DatabaseError::unknown(error.to_string())),
                    other => Err(other.err().unwrap_or_else(|| DatabaseError::unknown("another server answers"))),
                },
            };
            return outcome.results.into_iter().map(elsewhere).collect();
        }
        Ok((moment, looks)) => {
            let applied =
                outcome.results.iter().zip(&theirs).map(|(result, theirs)| result.is_ok() && !theirs).collect();
            let aftermath = Aftermath {
                connector,
                connection,
                call,
                orders,
                memberships: &memberships,
                applied,
                revoked: moment,
                budget,
            };
            aftermath.run(looks).await
        }
        Err(error) => Err(error),
    };
    let mut reports = match after {
        Ok(reports) => reports.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => applied_unseen(orders.len(), &error),
    };
    let told = outcome.results.into_iter().zip(theirs.into_iter().zip(marks));
    for (i, ((report, order), (result, (theirs, mark)))) in reports.iter_mut().zip(orders).zip(told).enumerate() {
        match (result, &mut *report) {
            (Err(error), _) => *report = Err(error),
            (Ok(()), Ok(report)) => {
                report.was_held = (order.how == RevokeHow::Remove && !theirs).then(|| !outcome.idle.contains(&i));
                report.seen.marked_by = mark;
            }
            (Ok(()), Err(_)) => {}
        }
    }
    reports
}

struct Revokes<'a> {
    orders: &'a [RevokeOrder],
    catalog: Catalog,
    /// Store that works, if marks of other stores can be known.
    store: Option<&'a StoreId>,
}

impl Revokes<'_> {
    /// Returns the orders that need a statement. PostgreSQL 15 cannot withhold SET ROLE, so there
    /// is nothing to narrow.
    fn that_need_a_statement(&self) -> Vec<usize> {
        let needs = |order: &RevokeOrder| match order.how {
            RevokeHow::Remove => true,
            RevokeHow::Narrow => self.catalog == Catalog::PerGrantor,
            RevokeHow::Nothing => false,
        };
        self.orders.iter().enumerate().filter(|(_, order)| needs(order)).map(|(i, _)| i).collect()
    }
}

impl Orders for Revokes<'_> {
    const HEEDS_MARKS: bool = true;
    const SORT: &'static str = sql::REVOKE;

    fn statement(statements: &Statements) -> &OnceCell<Statement> {
        &statements.revoke
    }

    fn about(&self, order: usize) -> Option<(&Membership, bool)> {
        self.orders.get(order).map(|order| (&order.membership, order.how == RevokeHow::Narrow))
    }

    async fn sort(
        &self,
        connection: &Connection,
        sort: &Statement,
        group: &Group,
        budget: Budget,
    ) -> Result<Row, tokio_postgres::Error> {
        let orders: Vec<&RevokeOrder> = group.orders.iter().filter_map(|i| self.orders.get(*i)).collect();
        let asked = MembershipColumns::of(orders.iter().map(|order| &order.membership));
        // A packet of a call that was given up must not take what is granted later.
        let until = connection.server.clock.after(budget.left());
        let ((role, role_id), store) = (&group.role, self.store.map(StoreId::as_str));
        let (accounts, account_ids) = (&asked.accounts, &asked.account_ids);
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&connection.server.broker, role, role_id, &group.set_role, accounts, account_ids, &until, &store];
        connection.client.query_one(sort, &parameters).await
    }

    fn refusal(&self, _: usize, state: &str, _: &str) -> Option<DatabaseError> {
        (state == "late").then(late)
    }
}

/// Work that follows once the memberships are gone.
struct Aftermath<'a> {
    connector: &'a Connector,
    connection: &'a Connection,
    call: &'a Call,
    orders: &'a [RevokeOrder],
    memberships: &'a [Membership],
    applied: Vec<bool>,
    revoked: Moment,
    budget: Budget,
}

impl Aftermath<'_> {
    async fn run(self, first: Vec<Look>) -> Result<Vec<RevokeReport>, DatabaseError> {
        let mut last = self.revoked.clone();
        let mut looks = first.clone();
        let mut known: BTreeSet<Backend> = first.iter().flat_map(|look| look.backends.iter().copied()).collect();
        let mut to_end = self.to_end(&first, |_| true);
        // The second round is for sessions that were logging in during the first look. A broker
        // that may not see when a session began cannot tell them from later ones.
        for _ in 0..2 {
            if to_end.is_empty() {
                break;
            }
            self.connection.end_sessions(self.call, &to_end, self.budget).await?;
            (last, looks) = self.connection.look(self.memberships).await?;
            to_end = self.to_end(&looks, |backend| !known.contains(&backend));
            known.extend(to_end.iter().copied());
        }
        let rolled_back = self.roll_back(&looks).await;
        if !rolled_back.is_empty() {
            (last, looks) = self.connection.look(self.memberships).await?;
        }
        Ok(self.reports(&first, looks, &rolled_back, &last))
    }

    /// Returns the sessions that can have used the role and whose end was ordered.
    fn to_end(&self, looks: &[Look], which: impl Fn(Backend) -> bool) -> BTreeSet<Backend> {
        let mut backends = BTreeSet::new();
        for ((order, look), applied) in self.orders.iter().zip(looks).zip(&self.applied) {
            if !applied || order.sessions != Sessions::End {
                continue;
            }
            let all = look.backends.iter().zip(&look.seen.sessions);
            let old = all.filter(|(_, session)| session.since.is_none_or(|since| since <= self.revoked.now));
            backends.extend(old.map(|(backend, _)| *backend).filter(|backend| which(*backend)));
        }
        backends
    }

    /// Rolls back prepared transactions. Returns the database and name of those that were rolled
    /// back.
    async fn roll_back(&self, looks: &[Look]) -> BTreeSet<(String, String)> {
        let mut wanted = BTreeMap::new();
        for ((order, look), applied) in self.orders.iter().zip(looks).zip(&self.applied) {
            if *applied && order.prepared == Prepared::Rollback {
                let all = look.seen.prepared.iter();
                wanted.extend(all.map(|one| ((one.database.clone(), one.gid.clone()), one.owner.clone())));
            }
        }
        prepared::roll_back(self.connector, self.call, wanted, self.budget).await
    }

    fn reports(
        &self,
        first: &[Look],
        looks: Vec<Look>,
        rolled_back: &BTreeSet<(String, String)>,
        last: &Moment,
    ) -> Vec<RevokeReport> {
        let reports = self.orders.iter().zip(first).zip(looks);
        let reports = reports.map(|((order, before), look)| {
            let ended = match order.sessions {
                Sessions::End => gone(before, &look),
                Sessions::Keep => Vec::new(),
            };
            let own = before.seen.prepared.iter().map(|one| (one.database.clone(), one.gid.clone()));
            let rolled_back = own.filter(|one| rolled_back.contains(one)).map(|(_, gid)| gid).collect();
            let seen = dated(before, look, self.revoked.now);
            let mut report = RevokeReport::new(last.identity.clone(), seen, self.revoked.now);
            report.server_time = last.now;
            report.ended = ended;
            report.rolled_back = rolled_back;
            report
        });
        reports.collect()
    }
}

/// Returns the sessions that ended between two looks.
fn gone(before: &Look, now: &Look) -> Vec<Session> {
    let all = before.backends.iter().zip(&before.seen.sessions);
    all.filter(|(backend, _)| !now.backends.contains(backend)).map(|(_, session)| session.clone()).collect()
}

/// Marks sessions that were not there right after the revoke as later ones. This also covers a
/// broker that may not see when a session began.
fn dated(before: &Look, look: Look, revoked_at: Time) -> jit_core::database::Seen {
    let mut seen = look.seen;
    for (backend, session) in look.backends.iter().zip(&mut seen.sessions) {
        if session.since.is_none() && !before.backends.contains(backend) {
            session.since = Some(after(revoked_at, chrono::TimeDelta::microseconds(1)));
        }
    }
    seen
}
