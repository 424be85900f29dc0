//! Calls that change the database, in their order, and the effect of their answers on the account
//! work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;

use super::account_work::{AccountWork, Release};
use super::counted::Counted;
use super::outcome::{NotRevoked, Outcome, ended, grant_failed};
use super::realm::{Pass, Served};
use crate::clock::{Time, after, span, to_std};
use crate::database::adapter::copied;
use crate::database::{Armed, Call, DatabaseError, Disarmed, GrantOrder, Granted, Identity, RevokeOrder, RevokeReport};
use crate::engine::contain::gave_no_answer;
use crate::engine::core::Core;
use crate::engine::repository::records::{RealmRecord, body, realm_key};
use crate::id::AccessId;
use crate::model::access::{Access, Event};
use crate::model::grant::Grant;
use crate::model::holding::{Closing, closings, orphan_closing, scope, verify};
use crate::store::StoreError;

/// Part of a claim that must be left after a call, so that its result can still be recorded.
const MARGIN: TimeDelta = TimeDelta::seconds(1);

/// Limit for the store to say which server is the realm's.
const KNOWN_WITHIN: Duration = Duration::from_secs(4);

/// Reason why nothing is granted to an account for a while.
pub(super) const MAY_ARRIVE: &str = "a revoke whose outcome is not known may still arrive";

impl Pass<'_> {
    /// Sends everything to the database: revokes first, then dead man's switches, then grants.
    pub(super) async fn effects(&mut self) -> Result<Served, StoreError> {
        let counted = Counted::from(self.core.store.now().await?);
        let (revoked, mut served) = self.revoke(counted.now()).await;
        if self.is_held_up() && matches!(served, Served::Answered { .. }) {
            // one of them is the cause, and nobody knows which: each is tried again by itself, at
            // once
            let arrived = after(self.core.store.now().await?, needed(self.core));
            for (place, _, _) in revoked {
                if let Some(work) = self.accounts.get_mut(place) {
                    work.quiet(arrived);
                }
            }
            return Ok(served);
        }
        let armed = self.arm(counted.now(), false).await;
        served = served.and(armed);
        let mut granted = Vec::new();
        if matches!(served, Served::Answered { .. }) {
            let second;
            (granted, second) = self.grant(counted.now()).await;
            served = served.and(second);
        }
        let now = self.core.store.now().await?;
        let arrived = after(now, needed(self.core));
        for (place, closing, outcome) in revoked {
            if let Some(work) = self.accounts.get_mut(place) {
                match &outcome {
                    Err(failed) if failed.unknown => work.quiet(arrived),
                    Err(failed) if failed.delivered && !failed.at_once => work.quiet(now),
                    _ => {}
                }
                ended(work, &closing, outcome, now);
            }
        }
        let usable = granted.iter().any(|(_, _, outcome)| outcome.is_ok());
        for (place, id, outcome) in granted {
            let event = match outcome {
                Ok(granted) => Event::Granted(granted),
                Err(error) => grant_failed(&error, now),
            };
            if let Some(work) = self.accounts.get_mut(place) {
                work.handle(id, event, now);
            }
        }
        if matches!(served, Served::Answered { .. }) && !self.is_held_up() {
            let counted = Counted::from(now);
            self.plan_dead_mans_switches(now);
            // Whoever waits for a role does not wait until its switch has moved closer.
            if usable && self.accounts.iter().any(|work| work.holding.armed.iter().any(|armed| armed.due.is_some())) {
                self.record(Release::Later).await?;
            }
            served = served.and(self.follow(counted.now()).await);
        }
        Ok(served)
    }

    /// Checks whether a call for several accounts did not come back. One of them is the cause. The
    /// others are delayed by that one call, and by no other of this pass.
    fn is_held_up(&self) -> bool {
        self.accounts.len() > 1 && self.hung.load(Ordering::Relaxed)
    }

    /// Returns the account work, with its places, whose claim lasts long enough for a call that is
    /// sent now. If a claim could be taken over before its answer is recorded, the next pass does
    /// the work.
    ///
    /// Each call takes time, so this is checked before each.
    pub(super) fn fit(&self, now: Time) -> impl Iterator<Item = (usize, &AccountWork)> {
        let needed = needed(self.core);
        let fit = move |work: &AccountWork| span(now, work.claim.until) >= needed;
        self.accounts.iter().enumerate().filter(move |(_, work)| fit(work))
    }

    async fn revoke(&self, now: Time) -> (Vec<(usize, Closing, Outcome)>, Served) {
        let mut closing = Vec::new();
        for (place, work) in self.fit(now) {
            let live = work.live();
            closing.extend(closings(&live, now).into_iter().map(|closing| (place, closing)));
            for orphan in work.holding.orphans.iter().filter(|orphan| orphan.retry_at <= now) {
                let nobody = AccessId::fresh(now, &*self.core.entropy);
                closing.extend(orphan_closing(&orphan.membership, &live, nobody).map(|closing| (place, closing)));
            }
        }
        if closing.is_empty() {
            return (Vec::new(), Served::Answered { restarted: false });
        }
        let orders: Vec<RevokeOrder> = closing.iter().map(|(_, closing)| closing.order.clone()).collect();
        let call = self.call();
        let (outcomes, served) = self.send(&call, orders.len(), self.database.revoke(&call, &orders)).await;
        let at_once = matches!(served, Served::Unreachable(_));
        let moved = matches!(served, Served::Answered { restarted: true });
        let answered = closing.into_iter().zip(outcomes).map(|((place, closing), outcome)| {
            let outcome = match outcome {
                Ok(report) => {
                    let left = |why| NotRevoked { why, at_once: false, unknown: false, delivered: true, moved: false };
                    verify(&closing, &report).map_err(left)
                }
                Err(error) => {
                    let unknown = matches!(error, DatabaseError::OutcomeUnknown { .. });
                    let delivered = !error.is_another_server();
                    Err(NotRevoked {
                        why: error.with_causes(),
                        at_once,
                        unknown,
                        delivered,
                        moved: moved && !delivered,
                    })
                }
            };
            (place, closing, outcome)
        });
        let mut answered: Vec<(usize, Closing, Outcome)> = answered.collect();
        self.compare(&mut answered).await;
        (answered, served)
    }

    async fn grant(&self, now: Time) -> (Vec<(usize, AccessId, Result<Granted, DatabaseError>)>, Served) {
        let mut whose = Vec::new();
        let mut orders: Vec<GrantOrder> = Vec::new();
        let mut refused = Vec::new();
        for (place, work) in self.fit(now) {
            let live = work.live();
            for access in &live {
                let (Some(Grant::Granting(granting)), Some(witness)) = (access.grant(), access.witness()) else {
                    continue;
                };
                if granting.intent.label != self.label {
                    continue;
                }
                let arrives =
                    || self.pump.ending_ahead.wait(&work.at()).map(|_| DatabaseError::not_applied(MAY_ARRIVE));
                let refusal = self.theirs(place, access).or_else(|| self.refused(access)).or_else(arrives);
                let refusal = refusal.or_else(|| work.without_dead_mans_switch(access.id(), &self.dead_mans_switch));
                if let Some(error) = refusal {
                    refused.push((place, access.id(), Err(error)));
                    continue;
                }
                let handling = &access.approval().plan().handling;
                let order = GrantOrder::new(
                    &witness,
                    granting.membership.clone(),
                    scope(access, &live),
                    granting.intent.not_after,
                )
                .with_account_members(handling.account_members)
                .with_can_grant(handling.can_grant);
                orders.push(order.activated(handling.activation));
                whose.push((place, access.id()));
            }
        }
        if self.is_held_up() {
            let why = "another call of its pass did not come back: it is tried again by itself";
            refused.extend(
                std::mem::take(&mut whose)
                    .into_iter()
                    .map(|(place, id)| (place, id, Err(DatabaseError::not_applied(why)))),
            );
            orders.clear();
        }
        if orders.is_empty() {
            return (refused, Served::Answered { restarted: false });
        }
        let call = self.call();
        let (outcomes, served) = self.send(&call, orders.len(), self.database.grant(&call, &orders)).await;
        let answered = whose.into_iter().zip(outcomes).map(|((place, id), outcome)| (place, id, outcome));
        (answered.chain(refused).collect(), served)
    }

    /// Returns the reason why the access may not be granted, if another store accounts for its
    /// membership.
    fn theirs(&self, place: usize, access: &Access) -> Option<DatabaseError> {
        let membership = access.grant().and_then(Grant::membership)?;
        let theirs = self.theirs.iter().find(|(at, held, _)| *at == place && held.is_same(membership))?;
        Some(copied(&theirs.2))
    }

    /// Sends a call to the server. Returns one answer for each order, and whether the server works.
    /// If the call did not come back, the server is asked whether it is there.
    pub(super) async fn send<T: Identified>(
        &self,
        call: &Call,
        orders: usize,
        sent: impl Future<Output = Vec<Result<T, DatabaseError>>>,
    ) -> (Vec<Result<T, DatabaseError>>, Served) {
        let (answers, meant) = tokio::join!(self.core.tasks.within(patience(call), sent), self.is_meant());
        let none =
            answers.iter().flatten().filter_map(|answer| answer.as_ref().err()).find(|error| gave_no_answer(error));
        let none = none.map(DatabaseError::with_causes);
        let Some(mut answers) = answers.filter(|_| none.is_none()) else {
            let why = none.unwrap_or_else(|| "the database did not answer in time".to_owned());
            let answers = (0..orders).map(|_| Err(DatabaseError::unknown(why.clone()))).collect();
            self.hung.store(true, Ordering::Relaxed);
            let served = match self.is_there().await {
                true => Served::Answered { restarted: false },
                false => Served::Unreachable(why),
            };
            return (answers, served);
        };
        answers.resize_with(orders, || Err(DatabaseError::unknown("the adapter gave no answer for this order")));
        let mut restarted = false;
        for answer in &mut answers {
            // an answer from whichever server was there proves nothing about the one that was meant
            if let Ok(done) = &*answer
                && let Err(error) =
                    self.same_server(done.identity()).and_then(|()| meant.as_ref().map_err(copied).copied())
            {
                restarted |= error.is_another_server();
                *answer = Err(DatabaseError::unknown(error.to_string()));
            }
        }
        let errors = || answers.iter().filter_map(|answer| answer.as_ref().err());
        let refused = errors().any(DatabaseError::is_another_server);
        let served = match errors().find(|error| error.is_unreachable()) {
            Some(error) => Served::Unreachable(error.with_causes()),
            // if it is back already, what was refused counts as failed, and is tried again later
            None => Served::Answered { restarted: restarted || refused && self.moved().await },
        };
        (answers, served)
    }

    /// Checks whether the pass's server is still the known server of the realm. Another node may
    /// have learnt meanwhile that it is not. If the store does not answer, what it said when the
    /// pass began counts.
    async fn is_meant(&self) -> Result<(), DatabaseError> {
        let Some(work) = self.accounts.first() else { return Ok(()) };
        let key = realm_key(&work.holding.tenant, &self.server.realm);
        let read = self.core.tasks.within(KNOWN_WITHIN, self.core.store.read(&key)).await;
        let Some(Ok(Some(record))) = read else { return Ok(()) };
        match body::<RealmRecord>(&record) {
            Ok(known) if known.incarnation != self.server.incarnation => {
                Err(DatabaseError::another_server(&known.seen(&self.server.realm), &self.server))
            }
            _ => Ok(()),
        }
    }

    /// Returns the label, limit and server of a call. From now on, the work counts as sent to a
    /// database.
    pub(super) fn call(&self) -> Call {
        self.held.sending();
        Call {
            label: self.label.clone(),
            limit: to_std(self.core.limits.call),
            server: Some(self.server.clone()),
            store: None,
        }
    }
}

/// Answer of a database that says which server gave it.
pub(super) trait Identified {
    /// Returns the server, as the very connection saw it.
    fn identity(&self) -> &Identity;
}

impl Identified for Granted {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Identified for RevokeReport {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Identified for Armed {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

impl Identified for Disarmed {
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Returns the time to wait for a call: an adapter that keeps its limit has answered by then.
pub(super) fn patience(call: &Call) -> Duration {
    call.limit.saturating_add(Duration::from_millis(500))
}

/// Returns the time that a claim has to last for a call.
pub(super) fn needed(core: &Core) -> TimeDelta {
    core.limits.call.checked_add(&MARGIN).unwrap_or(TimeDelta::MAX)
}
