//! Revoking: revoke the membership, restore default roles, end sessions, then look. The order
//! matters: a client whose session ends before the membership is gone comes back and has the role
//! again.

use std::collections::BTreeSet;
use std::sync::Arc;

use jit_core::clock::{Time, after};
use jit_core::database::{Call, DatabaseError, Membership, RevokeHow, RevokeOrder, RevokeReport, Seen, Session};
use jit_core::internal::adapter::{Budget, Pool, applied_unseen, none_applied};
use jit_core::policy::Sessions;

use crate::account::Name;
use crate::block::Group;
use crate::connect::Connection;
use crate::observe::{Look, Moment, Named};
use crate::sql;
use crate::unblock::{InTheWay, unblocked};

/// Revokes the memberships; returns one result per order.
pub(crate) async fn revoke(
    connection: &mut Connection,
    pool: &Pool<Connection>,
    call: &Call,
    orders: &[RevokeOrder],
    budget: Budget,
) -> Vec<Result<RevokeReport, DatabaseError>> {
    let memberships: Vec<Membership> = orders.iter().map(|order| order.membership.clone()).collect();
    let named: Vec<Named> =
        memberships.iter().map(|membership| Named::of(connection.server.flavour, membership)).collect();
    // even the look can be blocked: until then only the accounts' names are known
    let whose = InTheWay { accounts: ending_of(orders, &named), ..InTheWay::default() };
    let before = match unblocked(pool, &whose, connection.look(&memberships)).await {
        Ok((moment, looks)) => match call.meant_for(&moment.identity) {
            Ok(()) => looks,
            Err(error) => return none_applied(orders.len(), &error),
        },
        Err(error) => return none_applied(orders.len(), &error),
    };
    // a packet of an abandoned call must not revoke what is granted later
    let until = connection.server.clock.after(budget.left());
    let to_revoke = orders.iter().zip(&before).zip(&named).enumerate().filter_map(|(i, ((order, look), named))| {
        let needed = order.how == RevokeHow::Remove && !look.seen.direct.is_empty() && !is_theirs(call, look);
        needed.then(|| (i, named.account.clone(), named.role.clone(), until))
    });
    let groups = Group::of(to_revoke.collect::<Vec<_>>());
    let mut results: Vec<Result<(), DatabaseError>> = orders.iter().map(|_| Ok(())).collect();
    let whose = in_the_way(call, orders, &before);
    for (i, result) in unblocked(pool, &whose, connection.send(call, budget, groups, sql::revoke)).await {
        if let Some(place) = results.get_mut(i) {
            *place = result;
        }
    }
    // a membership of another store was left alone, with its sessions
    let applied: Vec<bool> =
        results.iter().zip(&before).map(|(result, look)| result.is_ok() && !is_theirs(call, look)).collect();
    let mut troubles: Vec<Option<String>> = Vec::with_capacity(orders.len());
    for (((order, look), named), applied) in orders.iter().zip(&before).zip(&named).zip(&applied) {
        let done = if *applied { connection.deactivate(order, named, look).await } else { Ok(()) };
        troubles.push(done.err());
    }
    let mut reports = match aftermath(connection, call, orders, &memberships, &applied, budget).await {
        Ok(reports) => reports.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => applied_unseen(orders.len(), &error),
    };
    for (report, result) in reports.iter_mut().zip(results) {
        // if the account or the role was dropped meanwhile, the membership went with it: the look
        // shows it
        let gone = matches!(&report, Ok(report) if report.seen.direct.is_empty());
        match result {
            Err(DatabaseError::Rejected { .. }) if gone => {}
            Err(error) => *report = Err(error),
            Ok(()) => {}
        }
    }
    for (((report, order), look), last_error) in reports.iter_mut().zip(orders).zip(&before).zip(troubles) {
        if let Ok(report) = report {
            report.default_kept = last_error;
            let told = order.how == RevokeHow::Remove && !is_theirs(call, look);
            report.was_held = told.then_some(!look.seen.direct.is_empty());
            report.seen.marked_by.clone_from(&look.seen.marked_by);
        }
    }
    reports
}

/// Checks whether another store accounts for the membership.
fn is_theirs(call: &Call, look: &Look) -> bool {
    look.seen.marked_by.as_ref().is_some_and(|store| call.is_another(store))
}

/// Checks whether both the membership and the sessions end.
fn ends(order: &RevokeOrder) -> bool {
    order.how == RevokeHow::Remove && order.sessions == Sessions::End
}

fn ending_of(orders: &[RevokeOrder], named: &[Named]) -> BTreeSet<Name> {
    let ending = orders.iter().zip(named).filter(|(order, _)| ends(order));
    ending.map(|(_, named)| named.account.clone()).collect()
}

/// Returns the accounts whose sessions end anyway, and may end before the membership is gone.
fn in_the_way(call: &Call, orders: &[RevokeOrder], looks: &[Look]) -> InTheWay {
    let ending =
        || orders.iter().zip(looks).filter(|(order, look)| ends(order) && !is_theirs(call, look)).map(|(_, look)| look);
    // an account that was created after the window of any of them began takes no session away
    let known = ending().map(|look| Arc::clone(&look.known)).reduce(|all, one| {
        if Arc::ptr_eq(&all, &one) { all } else { Arc::new(all.intersection(&one).cloned().collect()) }
    });
    let known = known.unwrap_or_default();
    InTheWay { accounts: ending().flat_map(|look| look.holders.iter().cloned()).collect(), known }
}

/// Ends sessions and looks.
async fn aftermath(
    connection: &mut Connection,
    call: &Call,
    orders: &[RevokeOrder],
    memberships: &[Membership],
    applied: &[bool],
    budget: Budget,
) -> Result<Vec<RevokeReport>, DatabaseError> {
    let (revoked, first) = connection.look(memberships).await?;
    // no session of another server is ended
    call.meant_for(&revoked.identity)?;
    let (mut last, mut looks) = (revoked.clone(), first.clone());
    let mut known: BTreeSet<u64> = first.iter().flat_map(|look| look.backends.iter().copied()).collect();
    let mut to_end = ending(orders, &first, applied, |_| true);
    // The second round is for sessions that were logging in during the first look.
    for _ in 0..2 {
        if to_end.is_empty() {
            break;
        }
        connection.end_sessions(&to_end, budget).await?;
        (last, looks) = connection.look(memberships).await?;
        to_end = ending(orders, &looks, applied, |id| !known.contains(&id));
        known.extend(to_end.iter().copied());
    }
    Ok(reports(orders, &first, looks, &revoked, &last))
}

/// Returns the sessions that can have used the role and that were ordered to end.
fn ending(orders: &[RevokeOrder], looks: &[Look], applied: &[bool], which: impl Fn(u64) -> bool) -> BTreeSet<u64> {
    let all = orders.iter().zip(looks).zip(applied);
    let ordered = all.filter(|((order, _), applied)| **applied && order.sessions == Sessions::End);
    ordered.flat_map(|((_, look), _)| look.backends.iter().copied()).filter(|id| which(*id)).collect()
}

fn reports(
    orders: &[RevokeOrder],
    first: &[Look],
    looks: Vec<Look>,
    revoked: &Moment,
    last: &Moment,
) -> Vec<RevokeReport> {
    let reports = orders.iter().zip(first).zip(looks).map(|((order, before), look)| {
        let ended = match order.sessions {
            Sessions::End => gone(before, &look),
            Sessions::Keep => Vec::new(),
        };
        let mut report = RevokeReport::new(last.identity.clone(), dated(before, look, revoked.now), revoked.now);
        report.server_time = last.now;
        report.ended = ended;
        report
    });
    reports.collect()
}

/// Returns the sessions that were there and are gone now.
fn gone(before: &Look, now: &Look) -> Vec<Session> {
    let all = before.backends.iter().zip(&before.seen.sessions);
    all.filter(|(id, _)| !now.backends.contains(id)).map(|(_, session)| session.clone()).collect()
}

/// Dates new sessions. The servers do not say when a session began; one that was not there right
/// after the revoke began later.
fn dated(before: &Look, look: Look, revoked_at: Time) -> Seen {
    let mut seen = look.seen;
    for (id, session) in look.backends.iter().zip(&mut seen.sessions) {
        if !before.backends.contains(id) {
            session.since = Some(after(revoked_at, chrono::TimeDelta::microseconds(1)));
        }
    }
    seen
}
