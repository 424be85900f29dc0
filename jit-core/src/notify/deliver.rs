//! Delivery of the due notices of one outbox: in order about one access, at least once, until a
//! notice is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::backoff::{is_given_up, retry_at};
use super::notice::OutboxRecord;
use super::notifier::{Notifier, NotifyError};
use crate::audit::EntryContext;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Entropy, Time, after};
use crate::id::{NodeId, TenantId};
use crate::store::{
    Change, Claim, ClaimRequest, Claimed, Expect, Kind, Lane, PageQuery, Record, Store, StoreError, Write,
};

/// Request to deliver the due notices of one outbox.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub(crate) struct DeliveryRequest<'a> {
    /// Tenant whose outbox it is.
    pub tenant: &'a TenantId,
    /// Name of the notifier.
    pub notifier_name: &'a str,
    /// Node that delivers.
    pub node: &'a NodeId,
    /// Largest number of queues (accesses); they are delivered at the same time.
    pub limit: usize,
}

/// Result of one pass over an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Outbox {
    /// Number of notices that were delivered and deleted.
    pub delivered: usize,
    /// Number of notices that are to be tried again later.
    pub delayed: usize,
    /// Number of notices that were given up, with an entry in the log.
    pub dropped: usize,
}

/// Delivers the due notices to one notifier.
///
/// Notices about one access go in their order: while one waits for another try, later ones wait
/// behind it. A notice is given up after a permanent error, or after [`super::GIVE_UP_AFTER`]. It
/// stays as a record labelled [`super::notice::dead_label`], and the log says so.
///
/// # Errors
/// [`StoreError`] when the store fails. A notice that was delivered but could not be noted comes
/// again.
pub(crate) async fn deliver_due(
    store: &dyn Store,
    notifier: &dyn Notifier,
    ask: DeliveryRequest<'_>,
    entropy: &dyn Entropy,
) -> Result<Outbox, StoreError> {
    let lane = Lane::outbox(ask.tenant, ask.notifier_name);
    let claim = ClaimRequest::new(ask.node.clone(), lane, ask.limit, HOLD);
    let claimed = store.claim(&claim).await?;
    let run = Run { store, notifier, ask, entropy };
    let mut total = Outbox::default();
    let mut failed = None;
    for outcome in join_all(claimed.into_iter().map(|claimed| run.queue(claimed))).await {
        match outcome {
            Ok(Outbox { delivered, delayed, dropped }) => {
                total.delivered = total.delivered.saturating_add(delivered);
                total.delayed = total.delayed.saturating_add(delayed);
                total.dropped = total.dropped.saturating_add(dropped);
            }
            // another node took the queue over, and goes on with it
            Err(StoreError::Fenced { .. } | StoreError::Conflict { .. }) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(total), Err)
}

/// Time for which a queue is held at once.
const HOLD: TimeDelta = TimeDelta::seconds(120);
/// Deadline for one call of a notifier.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Rest of the hold that is needed to begin another call.
const MARGIN: TimeDelta = TimeDelta::seconds(40);
/// Largest number of notices of a queue that one pass looks at.
const PAGE: usize = 64;

#[derive(Clone, Copy)]
struct Run<'a> {
    store: &'a dyn Store,
    notifier: &'a dyn Notifier,
    ask: DeliveryRequest<'a>,
    entropy: &'a dyn Entropy,
}

impl Run<'_> {
    /// Delivers one queue in its order, and gives its claim back.
    async fn queue(self, claimed: Claimed) -> Result<Outbox, StoreError> {
        let claim = claimed.claim.clone();
        let done = self.deliver_in_order(&claimed).await;
        self.store.unclaim(&[claim]).await?;
        done
    }

    async fn deliver_in_order(self, claimed: &Claimed) -> Result<Outbox, StoreError> {
        let ours = OutboxRecord::read(&claimed.record)?;
        let ask = PageQuery {
            tenant: self.ask.tenant.clone(),
            kind: Kind::Notice,
            label: Some(ours.queue_label()),
            after: None,
            limit: PAGE,
        };
        let waiting = self.store.page(&ask).await?;
        let mut outbox = Outbox::default();
        for (place, record) in waiting.iter().enumerate() {
            let now = self.store.now().await?;
            let Some(due) = record.schedule.as_ref().map(|schedule| schedule.due) else { continue };
            if due > now {
                // the first one waits for another try: due notices line up behind it
                let later = waiting.get(place.saturating_add(1)..).unwrap_or_default();
                self.line_up(&claimed.claim, later, due).await?;
                return Ok(outbox);
            }
            if after(now, MARGIN) > claimed.claim.until {
                return Ok(outbox);
            }
            let stored = OutboxRecord::read(record)?;
            match self.call(&stored).await {
                Ok(()) => {
                    self.commit(&claimed.claim, vec![Write::deleting(record)], None).await?;
                    outbox.delivered = outbox.delivered.saturating_add(1);
                }
                Err(error) => match self.failed(&claimed.claim, record, stored, &error).await? {
                    None => outbox.dropped = outbox.dropped.saturating_add(1),
                    Some(due) => {
                        outbox.delayed = outbox.delayed.saturating_add(1);
                        let later = waiting.get(place.saturating_add(1)..).unwrap_or_default();
                        self.line_up(&claimed.claim, later, due).await?;
                        return Ok(outbox);
                    }
                },
            }
        }
        Ok(outbox)
    }

    async fn call(self, stored: &OutboxRecord) -> Result<(), NotifyError> {
        match tokio::time::timeout(TIME_LIMIT, self.notifier.notify(&stored.notice)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NotifyError::Temporary {
                why: "it took longer than 30 s".to_owned(),
                retry_after: None,
                source: None,
            }),
        }
    }

    /// Records a failed try. Returns the time of the next try, or `None` if there is none.
    async fn failed(
        self,
        claim: &Claim,
        record: &Record,
        mut stored: OutboxRecord,
        error: &NotifyError,
    ) -> Result<Option<Time>, StoreError> {
        let now = self.store.now().await?;
        let expect = Expect::Version(record.version);
        let why: String = error.to_string().chars().take(LONGEST_ERROR).collect();
        stored.tries = stored.tries.saturating_add(1);
        // logs one reason only once, because tries are frequent
        if stored.last_error.as_ref() != Some(&why) {
            let (notifier_name, event) = (stored.notifier_name.as_str(), stored.notice.event.as_str());
            tracing::warn!(tenant = %self.ask.tenant, notifier_name, event, why, "a notice is not delivered yet");
        }
        stored.last_error = Some(why.clone());
        let retry_after = match error {
            NotifyError::Temporary { retry_after, .. } => Some(*retry_after),
            NotifyError::Permanent { .. } => None,
        };
        if let Some(retry_after) = retry_after.filter(|_| !is_given_up(stored.first_due, stored.tries, now)) {
            let due = retry_at(now, stored.tries, retry_after, self.entropy);
            self.commit(claim, vec![stored.write(expect, Some(due))?], None).await?;
            return Ok(Some(due));
        }
        let audit_event = AuditEvent::new(EventKind::NoticeDropped)
            .with("receiver", stored.notifier_name.as_str())
            .with("notice", stored.notice.id.to_string())
            .with("event", stored.notice.event.as_str())
            .with("tries", i64::from(stored.tries))
            .with("why", why);
        let context = EntryContext {
            tenant: self.ask.tenant,
            access: stored.notice.access,
            actor: None,
            node: self.ask.node,
            at: now,
            common: BTreeMap::new(),
        };
        self.commit(claim, vec![stored.write(expect, None)?], Some((&context, &audit_event))).await?;
        Ok(None)
    }

    /// Postpones these notices until after the one that they wait for, so that nobody looks at them
    /// in vain.
    async fn line_up(self, claim: &Claim, later: &[Record], behind: Time) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        for (record, place) in later.iter().zip(1..) {
            if record.schedule.as_ref().is_some_and(|schedule| schedule.due <= behind) {
                let due = after(behind, TimeDelta::microseconds(place));
                writes.push(OutboxRecord::read(record)?.write(Expect::Version(record.version), Some(due))?);
            }
        }
        if writes.is_empty() { Ok(()) } else { self.commit(claim, writes, None).await }
    }

    async fn commit(
        self,
        claim: &Claim,
        writes: Vec<Write>,
        said: Option<(&EntryContext<'_>, &AuditEvent)>,
    ) -> Result<(), StoreError> {
        let entries = said
            .map(|(context, audit_event)| context.entry(audit_event, self.entropy).to_store())
            .into_iter()
            .collect();
        let change = Change { writes, entries, fences: vec![claim.clone()], ..Change::default() };
        self.store.commit(change).await.map(drop)
    }
}

/// Largest number of characters of an error that are kept.
const LONGEST_ERROR: usize = 400;
