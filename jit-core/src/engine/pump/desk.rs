//! The desk: all due work that concerns people and needs no database. A dead target delays none of
//! it.

use std::sync::Arc;

use super::{ELSEWHERE, Pump};
use crate::clock::after;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::{Attempt, ignore_conflict, only_store, retry};
use crate::engine::repository::loaded;
use crate::engine::repository::records::{PolicySeen, body, encode, expect};
use crate::engine::rules::stops::{Stops, StopsNow};
use crate::engine::tenant::Tenant;
use crate::id::QuestionId;
use crate::model::access::{Access, Event};
use crate::model::grant::Cause;
use crate::store::{Change, Claim, Claimed, Kind, PageQuery, Record, Schedule, StoreError, Write, Writing};

impl Pump {
    /// Runs one pass over claimed records of the desk.
    pub(super) async fn desk(self: &Arc<Self>, claimed: Vec<Claimed>) -> Result<(), StoreError> {
        let done = claimed.into_iter().map(|claimed| self.desk_one(claimed));
        futures_util::future::join_all(done).await.into_iter().collect()
    }

    async fn desk_one(&self, claimed: Claimed) -> Result<(), StoreError> {
        let Claimed { record, claim } = claimed;
        match record.at.kind {
            Kind::Once => {
                let change =
                    Change { writes: vec![Write::deleting(&record)], release: vec![claim], ..Change::default() };
                return ignore_conflict(self.core.store.commit(change).await.map(|committed| committed.at));
            }
            Kind::Stops => return self.sweep(&record, claim, &Sweep::Stops(body(&record)?)).await,
            Kind::Setting => {
                let PolicySeen { hash, .. } = body(&record)?;
                return self.sweep(&record, claim, &Sweep::Policy(hash)).await;
            }
            _ => {}
        }
        // if the tenant is not configured here the claim is left to expire: given back, it would be
        // claimed again at once
        let Ok(settings) = self.core.tenant(&record.at.tenant) else { return Ok(()) };
        let now = self.core.store.now().await?;
        let loaded = match loaded(&record, now) {
            Ok(loaded) => loaded,
            Err(error) => {
                // its realm's lane takes away its role, if it has one: here the record is left as
                // it is
                tracing::error!(%error, "an access cannot be read: the desk leaves it as it is");
                return self.off_the_desk(&record, claim).await;
            }
        };
        let beside = Beside { release: vec![claim.clone()], ..Beside::default() };
        match self.core.apply(&settings, None, &loaded, Event::Tick, beside).await {
            Ok(Attempt::Done(_)) => Ok(()),
            Ok(Attempt::Overtaken) => self.core.store.unclaim(&[claim]).await,
            Err(error) => only_store(error),
        }
    }

    /// Goes over everything open. Accesses in the scope of an emergency stop end, and so do those
    /// that another policy no longer allows. The sweep starts again if its node dies.
    async fn sweep(&self, record: &Record, claim: Claim, sweep: &Sweep) -> Result<(), StoreError> {
        let tenant = &record.at.tenant;
        let Ok(settings) = self.core.tenant(tenant) else { return Ok(()) };
        if let Sweep::Policy(hash) = sweep
            && *hash != settings.policy.hash()
        {
            // another process has that policy in force, or this one will have it in a moment
            let mut schedule = record.schedule.clone();
            let now = self.core.store.now().await?;
            schedule.iter_mut().for_each(|schedule| schedule.due = after(now, ELSEWHERE));
            return self.put_back(record, schedule, record.body.clone(), claim).await;
        }
        let stops = match sweep {
            Sweep::Stops(stops) => self.core.stops_now(tenant, stops.clone()).await?,
            Sweep::Policy(_) => self.core.stops(tenant).await?,
        };
        let mut all_seen = true;
        let mut from = None;
        loop {
            let label = Some(("open".to_owned(), "yes".to_owned()));
            let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Access, label, after: from, limit: 512 };
            let page = self.core.store.page(&ask).await?;
            let swept = page.iter().map(|record| self.sweep_one(&settings, sweep, &stops, record));
            for seen in futures_util::future::join_all(swept).await {
                all_seen &= seen?;
            }
            from = page.last().map(|record| record.at.key.clone());
            if from.is_none() {
                return match sweep {
                    // nobody knew whose access it is, or what the stopped target is: all are
                    // checked again
                    Sweep::Stops(_) if !all_seen || stops.has_unknown_realm() => {
                        let due = after(self.core.store.now().await?, ELSEWHERE);
                        let schedule = record.schedule.clone().map(|schedule| Schedule { due, ..schedule });
                        self.put_back(record, schedule, record.body.clone(), claim).await
                    }
                    Sweep::Stops(stops) => {
                        let body = encode(&record.at, serde_json::to_vec(&stops.swept()))?;
                        self.put_back(record, None, body, claim).await
                    }
                    Sweep::Policy(_) => self.off_the_desk(record, claim).await,
                };
            }
        }
    }

    /// Handles one access of a sweep. It is read and judged again until nobody else is in the way.
    /// Returns true if it was handled.
    async fn sweep_one(
        &self,
        settings: &Tenant,
        sweep: &Sweep,
        stops: &StopsNow,
        record: &Record,
    ) -> Result<bool, StoreError> {
        let mut record = record.clone();
        let swept = retry!(async {
            let now = self.core.store.now().await?;
            let Ok(loaded) = loaded(&record, now) else { return Ok(Attempt::Done(true)) };
            let event = match sweep.event(&self.core, settings, stops, &loaded.access).await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(Attempt::Done(true)),
                Err(JitError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::warn!(access = %loaded.access.id(), %error, "the policy could not be applied again now: it is applied before the grant");
                    return Ok(Attempt::Done(false));
                }
            };
            match self.core.apply(settings, None, &loaded, event, Beside::default()).await {
                Ok(Attempt::Done(_)) => return Ok(Attempt::Done(true)),
                Ok(Attempt::Overtaken) => {}
                Err(error) => return only_store(error).map(|()| Attempt::Done(true)),
            }
            match self.core.store.read(&record.at).await? {
                Some(now) => record = now,
                None => return Ok(Attempt::Done(true)),
            }
            Ok(Attempt::Overtaken)
        });
        Ok(matches!(swept?, Attempt::Done(true)))
    }

    /// Gives the claim back with the record as it is, no longer scheduled. A record that was
    /// changed meanwhile stays on the desk.
    async fn off_the_desk(&self, record: &Record, claim: Claim) -> Result<(), StoreError> {
        self.put_back(record, None, record.body.clone(), claim).await
    }

    async fn put_back(
        &self,
        record: &Record,
        schedule: Option<Schedule>,
        body: Vec<u8>,
        claim: Claim,
    ) -> Result<(), StoreError> {
        let what = Writing::Put { body, schedule, labels: record.labels.clone() };
        let write = Write { at: record.at.clone(), expect: expect(Some(record)), what };
        let change = Change { writes: vec![write], release: vec![claim.clone()], ..Change::default() };
        match self.core.store.commit(change).await {
            Err(StoreError::Conflict { .. }) => self.core.store.unclaim(&[claim]).await,
            other => other.map(|_| ()),
        }
    }
}

/// Reason for a sweep over everything open.
#[derive(Debug)]
enum Sweep {
    /// Emergency stops of the tenant.
    Stops(Stops),
    /// Another policy, with this hash.
    Policy(String),
}

impl Sweep {
    /// Returns the event for the access; none if nothing changes.
    async fn event(
        &self,
        core: &Core,
        settings: &Tenant,
        stops: &StopsNow,
        access: &Access,
    ) -> Result<Option<Event>, JitError> {
        if access.state() == "revoking" {
            return Ok(None);
        }
        // another directory may say that somebody is a stopped person's other name
        if let Some(stop) = stops.ends(settings, access).await? {
            let (by, why) = (Some(stop.by.clone()), Some(stop.reason.clone()));
            return Ok(Some(Event::End { cause: Cause::Stopped, by, why }));
        }
        match self {
            Self::Stops(_) => Ok(None),
            Self::Policy(_) => {
                let ruling = core.ruling(settings, access.tenant(), access.request(), Some(access.id())).await?;
                // whatever changes meanwhile is met when it is ruled on again before its grant
                let (fresh, _) = core.fresh(settings, access.tenant(), access.approval(), stops).await?;
                Ok(Some(Event::RuleAgain { ruling, fresh, question: QuestionId::fresh(&*core.entropy) }))
            }
        }
    }
}
