//! Law 3's exception: while the store cannot be used, what is known to end is ended, and recorded
//! when the store is back.
//!
//! The ends of the next minute are read ahead. An end is forgotten once its record says that it
//! ended, or ends later. Nothing is claimed by this. Another node that works on the same end does
//! the same, and a database can be told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Pump;
use super::counted::Counted;
use super::effect::needed;
use super::realm::expired;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, to_std};
use crate::database::{Call, Continuity, Database, DatabaseError, Grantor, Identity, RevokeOrder, RevokeReport};
use crate::engine::repository::loaded;
use crate::engine::repository::records::{RealmRecord, access_key, body, expect, realm_key, write_holding};
use crate::id::{RealmId, TargetName, TenantId};
use crate::model::access::Access;
use crate::model::grant::Grant;
use crate::model::holding::{Holding, closings};
use crate::store::{Change, Lane, Record, RecordKey, StoreError};

/// Period that is read ahead.
const HORIZON: TimeDelta = TimeDelta::seconds(60);
/// Interval between two reads ahead.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Largest number of accounts of a realm that are read ahead: memory is bounded.
const MOST: usize = 2_048;
/// Interval between two looks whether something should have ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time for which the store counts as failing after it last could not keep work. Meanwhile, work is
/// retried more often.
const FAILING: Duration = Duration::from_secs(5);
/// Pause before the same end is carried out again while its record does not show it.
const AGAIN: TimeDelta = TimeDelta::seconds(10);
/// Time for the usual way to carry out an end, before the store is checked.
const USUAL: TimeDelta = TimeDelta::seconds(2);
/// Suffix of the labels of calls that are sent without a claim.
const AHEAD: &str = "ahead";
/// Limit for an answer of the store: a slower store cannot be used.
const ANSWER: Duration = Duration::from_secs(2);

/// Ends of the next minute that this process knows.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Time at which it was read.
    read: Option<Counted>,
    ends: Vec<End>,
}

/// Membership that is revoked when the last access that holds it ends.
#[derive(Debug, Clone)]
pub(super) struct End {
    at: Time,
    /// Key of the account's holding.
    holding: RecordKey,
    target: TargetName,
    realm: RealmId,
    /// Server of the realm, as the store had it; none if it was never contacted.
    known: Option<Identity>,
    order: RevokeOrder,
    /// Earliest time of the next try, if it was ended here already.
    again: Option<Time>,
}

impl End {
    /// Checks whether both end the same membership.
    fn same(&self, other: &Self) -> bool {
        self.holding == other.holding && self.order.membership == other.order.membership
    }
}

impl Ahead {
    /// Takes out the ends that should have happened by now.
    fn take_due(&mut self) -> Vec<End> {
        let Some(now) = self.read.map(Counted::now) else { return Vec::new() };
        self.ends.extract_if(.., |end| end.again.unwrap_or_else(|| after(end.at, USUAL)) <= now).collect()
    }
}

impl Pump {
    /// Reads ahead, and carries out ends that were missed, until stopped.
    pub(super) async fn keep_ends(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut ahead = Ahead::default();
        // what was ended here and is not logged yet
        let mut ended: Vec<(End, Time)> = Vec::new();
        while !*stopped.borrow() {
            if ahead.read.is_none_or(|read| read.age() >= READ_EVERY)
                && let Some(read) = self.core.tasks.within(ANSWER, self.read_ahead(&ahead.ends)).await
                && let Ok(read) = read
            {
                ahead = read;
            }
            let due = ahead.take_due();
            if !due.is_empty() {
                ahead.ends.extend(self.end_due(due, ahead.read, &mut ended).await);
            }
            if !ended.is_empty() && self.store_works().await {
                ended = self.tell_ended(ended).await;
            }
            self.tell_quiet().await;
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(LOOK_EVERY) => {}
            }
        }
        // nobody else knows of these
        let left = self.core.tasks.within(ANSWER, self.tell_ended(ended)).await;
        if left.is_none_or(|left| !left.is_empty()) {
            tracing::warn!(
                "what was ended while the store could not be used is not in the log: the store is still away"
            );
        }
    }

    /// Carries out the due ends if the usual way is not open. Returns the ends that stay known
    /// until their record shows them; `ended` collects what is to be logged.
    async fn end_due(&self, due: Vec<End>, read: Option<Counted>, ended: &mut Vec<(End, Time)>) -> Vec<End> {
        if self.store_works().await {
            return due;
        }
        let now = read.map(Counted::now).unwrap_or_default();
        let (done, mut known) = self.end_now(self.still(due, now).await).await;
        for (end, at) in done {
            if !ended.iter().any(|(told, _)| told.same(&end)) {
                ended.push((end.clone(), at));
            }
            known.push(End { again: Some(after(now, AGAIN)), ..end });
        }
        known
    }

    /// Checks whether the usual way is open: the store answers, and it could keep the last work.
    async fn store_works(&self) -> bool {
        let answers = self.core.tasks.within(ANSWER, self.core.store.now()).await;
        let failed = *self.store_failed.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(answers, Some(Ok(_))) && failed.is_none_or(|failed| failed.elapsed() > FAILING)
    }

    /// Remembers whether the store could be used for some work.
    #[expect(clippy::disallowed_methods, reason = "the store, which has the time, cannot be used")]
    pub(super) fn worked(&self, done: Result<(), &StoreError>) {
        let failed = match done {
            Ok(()) => None,
            Err(
                StoreError::Unavailable { .. }
                | StoreError::Full { .. }
                | StoreError::ReadOnly { .. }
                | StoreError::OutcomeUnknown { .. },
            ) => Some(Instant::now()),
            // the error is about one record
            Err(_) => return,
        };
        *self.store_failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Returns what these lanes have to end now, as far as it can be read: the safety net of one
    /// pass.
    pub(super) async fn due_now(&self, lanes: &[Lane], now: Time) -> Vec<End> {
        let read = async {
            let mut ends = Vec::new();
            for lane in lanes.iter().filter(|lane| lane.is_realm()) {
                let records = self.core.store.upcoming(lane, now, MOST).await?;
                ends.extend(self.ends_in(&records, now, now).await?);
            }
            Ok::<_, StoreError>(ends)
        };
        match self.core.tasks.within(ANSWER, read).await {
            Some(Ok(ends)) => ends,
            _ => Vec::new(),
        }
    }

    /// Carries out the known ends, because the store was lost in the middle of a pass. Whoever
    /// reaches the store next records them.
    pub(super) async fn end_known(&self, known: Vec<End>, now: Time) {
        if known.is_empty() {
            return;
        }
        let (done, left) = self.end_now(self.still(known, now).await).await;
        for end in &left {
            let (target, access) = (&end.target, &end.order.access);
            tracing::error!(%target, %access, "it should have ended, and neither the store nor its database could be used");
        }
        let _ = self.core.tasks.within(ANSWER, self.tell_ended(done)).await;
    }

    /// Reads the ends of the next minute. Ends known before stay, even if somebody has claimed them
    /// meanwhile.
    async fn read_ahead(&self, before: &[End]) -> Result<Ahead, StoreError> {
        let store = &self.core.store;
        let now = store.now().await?;
        let read = Some(Counted::from(now));
        let until = after(now, HORIZON);
        let mut ends = Vec::new();
        for (lane, next) in store.lanes().await? {
            if lane.is_realm() && next < until {
                let records = store.upcoming(&lane, until, MOST).await?;
                ends.extend(self.ends_in(&records, now, until).await?);
            }
        }
        let missing: Vec<&End> = before.iter().filter(|end| !ends.iter().any(|read| read.same(end))).collect();
        let keys: BTreeSet<RecordKey> = missing.iter().map(|end| end.holding.clone()).collect();
        let keys: Vec<RecordKey> = keys.into_iter().collect();
        let records: Vec<Record> = store.read_all(&keys).await?.into_iter().flatten().collect();
        let known = self.ends_in(&records, now, until).await?.into_iter();
        ends.extend(known.filter(|end| missing.iter().any(|before| before.same(end))));
        Ok(Ahead { read, ends })
    }

    /// Returns the memberships in these holdings that end before `until`.
    async fn ends_in(&self, records: &[Record], now: Time, until: Time) -> Result<Vec<End>, StoreError> {
        let mut ends = Vec::new();
        let holdings: Vec<(&RecordKey, Holding)> =
            records.iter().filter_map(|record| Some((&record.at, body(record).ok()?))).collect();
        let keys: Vec<_> = holdings
            .iter()
            .flat_map(|(_, holding)| holding.live.iter().map(|id| access_key(&holding.tenant, *id)))
            .collect();
        let realms: BTreeSet<RecordKey> =
            holdings.iter().map(|(_, holding)| realm_key(&holding.tenant, &holding.realm)).collect();
        let realms: Vec<RecordKey> = realms.into_iter().collect();
        let mut accesses = self.core.store.read_all(&keys).await?.into_iter();
        let records = self.core.store.read_all(&realms).await?.into_iter().flatten();
        let servers: BTreeMap<RecordKey, RealmRecord> =
            records.filter_map(|record| Some((record.at.clone(), body(&record).ok()?))).collect();
        for (at, holding) in &holdings {
            let known = servers.get(&realm_key(&holding.tenant, &holding.realm)).map(|it| it.seen(&holding.realm));
            let own: Vec<Option<Record>> = accesses.by_ref().take(holding.live.len()).collect();
            // an access that cannot be read could be the reason why another one's membership stays
            let live: Option<Vec<Access>> =
                own.iter().map(|record| Some(loaded(record.as_ref()?, now).ok()?.access)).collect();
            if let Some(live) = live {
                ends.extend(self.ends_of(at, holding, known.as_ref(), live, until));
            }
        }
        Ok(ends)
    }

    /// Drops ends that have changed since they were read ahead, if that can be read: an access may
    /// have been extended, or given back.
    async fn still(&self, due: Vec<End>, now: Time) -> Vec<End> {
        let keys: BTreeSet<RecordKey> = due.iter().map(|end| end.holding.clone()).collect();
        let keys: Vec<RecordKey> = keys.into_iter().collect();
        let read = async {
            let records: Vec<Record> = self.core.store.read_all(&keys).await?.into_iter().flatten().collect();
            self.ends_in(&records, now, now).await
        };
        match self.core.tasks.within(ANSWER, read).await {
            Some(Ok(ends)) => ends.into_iter().filter(|end| due.iter().any(|known| known.same(end))).collect(),
            _ => due,
        }
    }

    /// Returns the memberships of the account that end before `until`, and when.
    fn ends_of(
        &self,
        at: &RecordKey,
        holding: &Holding,
        known: Option<&Identity>,
        live: Vec<Access>,
        until: Time,
    ) -> Vec<End> {
        let Ok(settings) = self.core.tenant(&holding.tenant) else { return Vec::new() };
        let mut ending = BTreeMap::new();
        let live: Vec<Access> = live
            .into_iter()
            .map(|access| match access.grant() {
                Some(Grant::Active(active)) if active.window.end() < until => {
                    let end = active.window.end();
                    ending.insert(access.id(), end);
                    access.handle(expired(), end).map_or(access, |step| step.access)
                }
                _ => access,
            })
            .collect();
        let all: Vec<&Access> = live.iter().collect();
        let targets = live.iter().map(|access| &access.request().target);
        let Some(target) = targets.clone().find(|target| settings.databases.contains_key(*target)) else {
            return Vec::new();
        };
        let goes = closings(&all, until).into_iter().filter(|closing| closing.stays.is_none());
        let ends = goes.filter_map(|closing| {
            let ends = closing.accesses.iter().map(|id| ending.get(id).copied()).collect::<Option<Vec<Time>>>()?;
            Some(End {
                at: ends.into_iter().max()?,
                holding: at.clone(),
                target: target.clone(),
                realm: holding.realm.clone(),
                known: known.cloned(),
                order: closing.order,
                again: None,
            })
        });
        ends.collect()
    }

    /// Sends the revokes to the databases. Returns what they did, and what is left for the next
    /// look.
    async fn end_now(&self, due: Vec<End>) -> (Vec<(End, Time)>, Vec<End>) {
        let (mut done, mut left) = (Vec::new(), Vec::new());
        let mut groups: BTreeMap<(TenantId, TargetName, RealmId), Vec<End>> = BTreeMap::new();
        for end in due {
            let whose = (end.holding.tenant.clone(), end.target.clone(), end.realm.clone());
            groups.entry(whose).or_default().push(end);
        }
        // side by side: a server that does not answer delays no other
        let sent = groups.into_iter().map(|((tenant, target, _), ends)| self.end_at(tenant, target, ends));
        for (ended, known) in futures_util::future::join_all(sent).await {
            done.extend(ended);
            left.extend(known);
        }
        (done, left)
    }

    /// Sends the revokes of one target. Returns what they did, and what is left.
    async fn end_at(&self, tenant: TenantId, target: TargetName, ends: Vec<End>) -> (Vec<(End, Time)>, Vec<End>) {
        let Ok(settings) = self.core.tenant(&tenant) else { return Default::default() };
        let Ok(database) = settings.database(&target) else { return Default::default() };
        let limit = to_std(self.core.limits.call);
        let Some(server) = self.the_server(&tenant, &target, &ends, database).await else {
            return (Vec::new(), ends);
        };
        let call =
            Call { label: format!("{}.{AHEAD}", self.label()), limit, server: Some(server.clone()), store: None };
        let orders: Vec<RevokeOrder> = ends.iter().map(|end| end.order.clone()).collect();
        let patience = limit.saturating_mul(2);
        let holdings = ends.iter().map(|end| &end.holding);
        let calling = self.ending_ahead.begin(holdings, patience, to_std(needed(&self.core)));
        let answers = self.core.tasks.within(patience, database.revoke(&call, &orders)).await;
        let mut answers = answers.unwrap_or_default().into_iter();
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for (place, end) in ends.into_iter().enumerate() {
            let answer = answers.next();
            if answer.as_ref().is_some_and(is_settled) {
                calling.answered(place);
            }
            match answer {
                Some(Ok(report)) if report.identity == server && is_gone(&report) => {
                    tracing::warn!(%target, access = %end.order.access, "ended while the store cannot be used: it is recorded when the store is back");
                    done.push((end, report.server_time));
                }
                _ => left.push(end),
            }
        }
        (done, left)
    }

    /// Writes into the holdings that nothing is granted while a revoke may still arrive, for other
    /// nodes. What cannot be written now is written later.
    async fn tell_quiet(&self) {
        for (holding, wait) in self.ending_ahead.untold() {
            let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
            if self.keep_quiet(&holding, wait).await.is_ok() {
                self.ending_ahead.told(&holding);
            }
        }
    }

    async fn keep_quiet(&self, at: &RecordKey, wait: TimeDelta) -> Result<(), StoreError> {
        let Some(record) = self.core.store.read(at).await? else { return Ok(()) };
        let mut holding: Holding = body(&record)?;
        holding.keep_quiet(after(self.core.store.now().await?, wait));
        let due = record.schedule.as_ref().map(|schedule| schedule.due);
        let write = write_holding(&holding, expect(Some(&record)), due)?;
        self.core.store.commit(Change { writes: write.into_iter().collect(), ..Change::default() }).await.map(|_| ())
    }

    /// Returns the server that these ends are for, if the target still leads to it. Its last
    /// identification counts, or a new one now. It is compared with what the store had of it last,
    /// and with what this process saw since.
    async fn the_server(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        ends: &[End],
        database: &Arc<dyn Database>,
    ) -> Option<Identity> {
        let first = ends.first()?;
        let (realm, known) = (&first.realm, first.known.as_ref());
        let last = self.breaker(&Lane::realm(realm), |breaker| breaker.knows(tenant, target));
        if let Some(incarnation) = last.filter(|last| known.is_none_or(|known| known.incarnation == *last)) {
            return Some(Identity { realm: realm.clone(), incarnation, position: String::new() });
        }
        let server = self.identify(database).await.ok().filter(|server| server.realm == *realm)?;
        let goes_on = |known: &Identity| {
            *known == server || matches!(database.continues(known, &server), Continuity::Same | Continuity::Restarted)
        };
        (known.is_none_or(goes_on) && self.core.may_be(tenant, database, &server)).then_some(server)
    }

    /// Logs the ends, and returns those that could not be logged yet.
    async fn tell_ended(&self, ended: Vec<(End, Time)>) -> Vec<(End, Time)> {
        let mut left = Vec::new();
        for (end, server_time) in ended {
            let Ok(settings) = self.core.tenant(&end.holding.tenant) else { continue };
            let audit_event = AuditEvent::new(EventKind::EndedAhead)
                .with("access", end.order.access.to_string())
                .with("account", end.order.membership.account.as_str())
                .with("role", end.order.membership.role.as_str())
                .with("target", end.target.as_str())
                .with("end", end.at)
                .with("server_time", server_time);
            if self.tell(&end.holding.tenant, &settings, audit_event).await.is_err() {
                left.push((end, server_time));
            }
        }
        left
    }
}

/// Checks that the order is not under way any more, whatever it did.
fn is_settled(answer: &Result<RevokeReport, DatabaseError>) -> bool {
    !matches!(answer, Err(DatabaseError::OutcomeUnknown { .. }))
}

/// Checks that no membership is left that may be ours.
fn is_gone(report: &RevokeReport) -> bool {
    report.seen.direct.iter().all(|grant| matches!(grant.grantor, Grantor::Other(_)))
}
