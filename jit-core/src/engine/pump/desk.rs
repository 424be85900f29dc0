//! The desk: everything that is due for people and needs no database. A dead target delays none of it.

use std::sync::Arc;

use super::super::apply::{Applied, Beside, loaded};
use super::super::records::{Stops, body, put};
use super::Lanes;
use super::lane::{ignore_conflict, only_store};
use crate::access::Event;
use crate::grant::Cause;
use crate::store::{Change, Claimed, Kind, PageAsk, Record, StoreError};

impl Lanes {
    /// One pass over claimed records of the desk.
    pub(super) async fn desk(self: &Arc<Self>, claimed: Vec<Claimed>) -> Result<(), StoreError> {
        let done = claimed.into_iter().map(|claimed| self.desk_one(claimed));
        futures_util::future::join_all(done).await.into_iter().collect()
    }

    async fn desk_one(&self, claimed: Claimed) -> Result<(), StoreError> {
        let Claimed { record, claim } = claimed;
        if record.at.kind == Kind::Stops {
            return self.sweep(&record, claim).await;
        }
        let Ok(settings) = self.core.tenant(&record.at.tenant) else {
            return self.core.store.unclaim(&[claim]).await;
        };
        let now = self.core.store.now().await?;
        let loaded = match loaded(&record, now) {
            Ok(loaded) => loaded,
            Err(error) => {
                // its role, where it has one, is taken away by its realm's lane
                tracing::error!(%error, "an access is left alone by the desk");
                return self.shelve(&record, claim).await;
            }
        };
        let beside = Beside { release: vec![claim.clone()], ..Beside::default() };
        match self.core.apply(&settings, None, &loaded, Event::Tick, beside).await {
            Ok(Applied::Done(_)) => Ok(()),
            Ok(Applied::Conflict) => self.core.store.unclaim(&[claim]).await,
            Err(error) => only_store(error),
        }
    }

    /// Takes a damaged record off the desk; it stays as it is.
    async fn shelve(&self, record: &Record, claim: crate::store::Claim) -> Result<(), StoreError> {
        let what =
            crate::store::Writing::Put { body: record.body.clone(), schedule: None, labels: record.labels.clone() };
        let expect = super::super::records::expect(Some(record));
        let write = crate::store::Write { at: record.at.clone(), expect, what };
        let change = Change { writes: vec![write], release: vec![claim], ..Change::default() };
        ignore_conflict(self.core.store.commit(change).await.map(|committed| committed.at))
    }

    /// Ends everything that an emergency stop is about. It goes on where it was when its node died.
    async fn sweep(&self, record: &Record, claim: crate::store::Claim) -> Result<(), StoreError> {
        let tenant = &record.at.tenant;
        let Ok(settings) = self.core.tenant(tenant) else { return self.core.store.unclaim(&[claim]).await };
        let stops: Stops = body(record)?;
        let mut after = None;
        loop {
            let label = Some(("open".to_owned(), "yes".to_owned()));
            let ask = PageAsk { tenant: tenant.clone(), kind: Kind::Access, label, after, limit: 512 };
            let page = self.core.store.page(&ask).await?;
            let ended = page.iter().map(|record| self.stop_one(&settings, &stops, record));
            futures_util::future::join_all(ended).await.into_iter().collect::<Result<(), StoreError>>()?;
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                break;
            }
        }
        let write = put(record.at.clone(), Some(record), &stops, None)?;
        let change = Change { writes: vec![write], release: vec![claim], ..Change::default() };
        ignore_conflict(self.core.store.commit(change).await.map(|committed| committed.at))
    }

    async fn stop_one(
        &self,
        settings: &super::super::core::Tenant,
        stops: &Stops,
        record: &Record,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let Ok(first) = loaded(record, now) else { return Ok(()) };
        let request = first.access.request();
        let Some(stop) = stops.meets(&request.target, [&request.parties.requester, &request.parties.receiver]) else {
            return Ok(());
        };
        if matches!(first.access.state(), "revoking") {
            return Ok(());
        }
        let event = Event::End { cause: Cause::Stopped, by: Some(stop.by.clone()), why: Some(stop.reason.clone()) };
        match self.core.apply(settings, None, &first, event.clone(), Beside::default()).await {
            Ok(Applied::Done(_)) => return Ok(()),
            Ok(Applied::Conflict) => {}
            Err(error) => return only_store(error),
        }
        match self.core.change(settings, &record.at.tenant, first.access.id(), event).await {
            Ok(_) => Ok(()),
            Err(error) => only_store(error),
        }
    }
}
