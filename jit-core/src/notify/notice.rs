//! A notice, and its record in the outbox.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit_event::EventKind;
use crate::clock::{Entropy, Time};
use crate::id::{AccessId, EntryId, TenantId};
use crate::names::join;
use crate::store::{Expect, Kind, Lane, Record, RecordKey, Schedule, StoreError, Write, Writing};

/// Message about something that people should hear of. It carries no secret (law 12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notice {
    /// Id of the notice, the same for every delivery and every notifier. Whoever sees it twice can
    /// drop the second copy.
    pub id: EntryId,
    /// Tenant that the notice belongs to.
    pub tenant: TenantId,
    /// Access that the notice is about. A notifier gets the notices about one access in their
    /// order.
    pub access: Option<AccessId>,
    /// Event that the notice tells of.
    pub event: EventKind,
    /// Further fields, in words and names (`target`, `role`, `principal`, `pending_on`).
    pub fields: BTreeMap<String, String>,
    /// Time of the event (the store's time), UTC.
    pub at: Time,
}

impl Notice {
    /// Makes a notice about no access, without fields.
    ///
    /// ```
    /// use jit_core::audit_event::EventKind;
    /// use jit_core::notify::Notice;
    /// use jit_core::{SystemEntropy, TenantId, Time};
    ///
    /// let tenant = TenantId::default();
    /// let notice = Notice::new(tenant, EventKind::Requested, Time::UNIX_EPOCH, &SystemEntropy)
    ///     .field("role", "orders_write");
    /// assert_eq!(notice.fields["role"], "orders_write");
    /// ```
    #[must_use]
    pub fn new(tenant: TenantId, event: EventKind, at: Time, entropy: &dyn Entropy) -> Self {
        Self { id: EntryId::fresh(at, entropy), tenant, access: None, event, fields: BTreeMap::new(), at }
    }

    /// Says which access the notice is about.
    #[must_use]
    pub fn about(self, access: AccessId) -> Self {
        Self { access: Some(access), ..self }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.fields.insert(name.into(), text.into());
        self
    }

    /// Returns the write that puts the notice into the outbox of this notifier. It belongs into the
    /// commit that the notice tells of (law 9).
    ///
    /// `now` is the store's time. If one commit holds several notices about one access, a later
    /// notice needs a later time.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it cannot be written as JSON, which no notice of the engine is.
    pub(crate) fn write(&self, notifier_name: &str, now: Time) -> Result<Write, StoreError> {
        let stored = OutboxRecord {
            notice: self.clone(),
            notifier_name: notifier_name.to_owned(),
            tries: 0,
            first_due: now,
            last_error: None,
        };
        stored.write(Expect::Absent, Some(now))
    }
}

/// A notice on its way to one notifier, or given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub(super) struct OutboxRecord {
    /// Notice to deliver.
    pub notice: Notice,
    /// Name of the notifier.
    #[serde(rename = "receiver")]
    pub notifier_name: String,
    /// Number of failed tries.
    pub tries: u32,
    /// Time at which the first try was due (the store's time), UTC.
    pub first_due: Time,
    /// Error of the last try, if it failed.
    pub last_error: Option<String>,
}

/// Returns the label of notices that were given up, for [`crate::store::PageQuery`]. Their records
/// stay until somebody deletes them.
#[must_use]
pub(super) fn dead_label() -> (String, String) {
    (STATE.to_owned(), "dead".to_owned())
}

const STATE: &str = "state";
/// Label that finds the notices of one queue.
const QUEUE: &str = "queue";

impl OutboxRecord {
    /// Reads a notice from its record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not one.
    pub(super) fn read(record: &Record) -> Result<Self, StoreError> {
        serde_json::from_slice(&record.body).map_err(|error| damaged(&record.at.key, &error))
    }

    /// Returns the name of its queue: the notices about one access to one notifier, which are
    /// delivered one after the other.
    pub(super) fn queue(&self) -> String {
        let about = self.notice.access.map_or_else(|| self.notice.id.to_string(), |access| access.to_string());
        format!("{}/{about}", self.notifier_name)
    }

    /// Returns the label of its queue.
    pub(super) fn queue_label(&self) -> (String, String) {
        (QUEUE.to_owned(), self.queue())
    }

    /// Returns the write of its record, due at this time; without a time the notice is given up.
    pub(super) fn write(&self, expect: Expect, due: Option<Time>) -> Result<Write, StoreError> {
        let Notice { tenant, id, .. } = &self.notice;
        // keys sort by the time of the first try: the order of a queue
        let micros = u64::try_from(self.first_due.timestamp_micros()).unwrap_or_default();
        let at = RecordKey::new(tenant, Kind::Notice, format!("{micros:020}/{id}/{}", self.notifier_name));
        let body = serde_json::to_vec(self).map_err(|error| damaged(&at.key, &error))?;
        let lane = Lane::outbox(tenant, &self.notifier_name);
        let serial = format!("notice:{}", join([tenant.as_str(), &self.queue()]));
        let label = if due.is_some() { self.queue_label() } else { dead_label() };
        let schedule = due.map(|due| Schedule { lane, due, serial });
        Ok(Write { at, expect, what: Writing::Put { body, schedule, labels: BTreeMap::from([label]) } })
    }
}

fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged { kind: Kind::Notice.as_str(), key: key.to_owned(), why: error.to_string() }
}
