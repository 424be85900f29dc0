//! A notice, and its record in the outbox.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::clock::{Entropy, Time, after};
use crate::fact::What;
use crate::id::{AccessId, EntryId, TenantId};
use crate::names::join;
use crate::store::{Expect, Kind, Lane, Record, RecordKey, Schedule, StoreError, Write, Writing};

/// Something that people should hear of. It carries no secret (law 12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id, the same however often and to whom it is delivered: a receiver that sees it twice can leave the second out.
    pub id: EntryId,
    /// Whose.
    pub tenant: TenantId,
    /// Which access it is about. Notices about one access reach a receiver in their order.
    pub access: Option<AccessId>,
    /// What happened.
    pub event: What,
    /// The rest of it, in words and names (`target`, `role`, `principal`, `awaits`).
    pub fields: BTreeMap<String, String>,
    /// When it happened, the store's time, UTC.
    pub at: Time,
}

impl Notice {
    /// A notice, about an access where there is one.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        access: Option<AccessId>,
        event: What,
        fields: BTreeMap<String, String>,
        at: Time,
        entropy: &dyn Entropy,
    ) -> Self {
        Self { id: EntryId::fresh(at, entropy), tenant, access, event, fields, at }
    }

    /// The write that puts it into the outbox of this receiver, to be part of the commit that it tells of (law 9). `now` is
    /// the store's time; of several notices about one access in one commit, a later one needs a later time:
    /// [`Notice::writes`] takes care of that.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it cannot be written as JSON, which no notice of the engine is.
    pub fn write(&self, receiver: &str, now: Time) -> Result<Write, StoreError> {
        let stored = OutboxRecord {
            notice: self.clone(),
            receiver: receiver.to_owned(),
            tries: 0,
            first_due: now,
            last_error: None,
        };
        stored.write(Expect::Absent, Some(now))
    }

    /// The writes of several notices, each with its receiver, in the order in which they are to arrive.
    ///
    /// # Errors
    /// As [`Notice::write`].
    pub fn writes<'a>(
        notices: impl IntoIterator<Item = (&'a str, &'a Self)>,
        now: Time,
    ) -> Result<Vec<Write>, StoreError> {
        let order = notices.into_iter().zip(0..);
        order
            .map(|((receiver, notice), place)| notice.write(receiver, after(now, TimeDelta::microseconds(place))))
            .collect()
    }
}

/// A notice on its way to one receiver, or given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutboxRecord {
    /// The notice.
    pub notice: Notice,
    /// To whom.
    pub receiver: String,
    /// How often delivery was tried.
    pub tries: u32,
    /// When it was to be delivered first, the store's time, UTC.
    pub first_due: Time,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// The label of notices that were given up, for [`crate::store::PageAsk`]. Their records stay until somebody deletes them.
#[must_use]
pub fn dead_label() -> (String, String) {
    (STATE.to_owned(), "dead".to_owned())
}

const STATE: &str = "state";
/// Finds what waits in one queue.
const QUEUE: &str = "queue";

impl OutboxRecord {
    /// From its record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not one.
    pub fn read(record: &Record) -> Result<Self, StoreError> {
        serde_json::from_slice(&record.body).map_err(|error| damaged(&record.at.key, &error))
    }

    /// What is delivered one after the other: the notices about one access to one receiver.
    pub(super) fn queue(&self) -> String {
        let about = self.notice.access.map_or_else(|| self.notice.id.to_string(), |access| access.to_string());
        format!("{}/{about}", self.receiver)
    }

    /// The label of its queue.
    pub(super) fn queue_label(&self) -> (String, String) {
        (QUEUE.to_owned(), self.queue())
    }

    /// Its record, due then; without a time it is given up.
    pub(super) fn write(&self, expect: Expect, due: Option<Time>) -> Result<Write, StoreError> {
        let Notice { tenant, id, .. } = &self.notice;
        // keys sort by the time of the first try: the order of a queue
        let micros = u64::try_from(self.first_due.timestamp_micros()).unwrap_or_default();
        let at = RecordKey::new(tenant, Kind::Notice, format!("{micros:020}/{id}/{}", self.receiver));
        let body = serde_json::to_vec(self).map_err(|error| damaged(&at.key, &error))?;
        let lane = Lane::outbox(tenant, &self.receiver);
        let serial = format!("notice:{}", join([tenant.as_str(), &self.queue()]));
        let label = if due.is_some() { self.queue_label() } else { dead_label() };
        let schedule = due.map(|due| Schedule { lane, due, serial });
        Ok(Write { at, expect, what: Writing::Put { body, schedule, labels: BTreeMap::from([label]) } })
    }
}

fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged { kind: Kind::Notice.as_str(), key: key.to_owned(), why: error.to_string() }
}
