//! Store: versioned records, the entries of the audit log, and the store's own time.
//!
//! A store knows nothing of roles. It promises four things:
//!
//! - A change is whole or absent (law 9).
//! - Time never runs backwards (law 10).
//! - Tenants are walls (law 13).
//! - A serial key has one claim at a time, whoever asks (law 14).

mod check;
mod identity;
mod kind;
mod lane;
pub(crate) mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod time;
mod waiting;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use chrono::TimeDelta;

pub use identity::identity;
pub use kind::Kind;
pub use lane::Lane;
pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use time::{Doubt, Mark, STALE_MARK, STEP_ALLOWED, Timekeeper};

use crate::clock::Time;
use crate::id::{EntryId, NodeId, TargetName, TenantId};

/// Interface that the engine needs of a place that keeps its data.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Returns the store's time, UTC. It is never earlier than any time that the store gave before,
    /// to anybody (law 10).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn now(&self) -> Result<Time, StoreError>;

    /// Returns at `until` (the store's time), or as soon as any process commits something after
    /// `seen`, whichever comes first. `seen` is what [`Store::pulse`] gave before the caller last
    /// looked, so no commit is missed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError>;

    /// Returns a number that changes with every commit that this process can see.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn pulse(&self) -> Result<Pulse, StoreError>;

    /// Applies all of the change, or nothing of it. Concurrent calls may share one transaction, in
    /// which a conflicting change fails alone. When this returns `Ok`, the change is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a version is not the one expected; [`StoreError::Fenced`] when
    /// a claim of the change has been taken over; the others as they say.
    async fn commit(&self, change: Change) -> Result<Committed, StoreError>;

    /// Claims up to `limit` records of the lane that are due now, earliest first, one per serial
    /// key. It passes over a record whose serial key has a claim that is not expired, whoever holds
    /// it. It takes over an expired claim with a higher fencing number. Claims need not survive a
    /// crash of the machine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, StoreError>;

    /// Gives claims back before they expire. A claim that is no longer held is ignored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError>;

    /// Returns each lane that has scheduled records, with the time at which its earliest unclaimed
    /// record is due. If all its due records are claimed, the time is the end of the claim. Ordered
    /// by lane.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError>;

    /// Returns unclaimed records of the lane that are due before `until`, earliest first, at most
    /// `limit`, one per serial key. A node needs them for the time when it cannot reach the store
    /// any more (law 3). Nothing is claimed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Reads one record; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError>;

    /// Reads the records of these keys in one snapshot, in the order of the keys. Absent records
    /// are `None`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError>;

    /// Lists records of one kind of one tenant, ordered by key, after `query.after`. If the query
    /// names a label, only records with that label are listed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn page(&self, query: &PageQuery) -> Result<Vec<Record>, StoreError>;

    /// Returns numbered entries of the tenant's log, at most `limit`, beginning with number `from`.
    /// The first entry has number 0.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError>;

    /// Returns entries of the tenant's log that have no number yet, in the order of their commits,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError>;

    /// Returns entries that carry this subject (an access id), numbered or not, in the order of
    /// their commits, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError>;

    /// Accepts the wall clock as it is, however far it went back; `jit clock accept` calls this.
    /// The store's time still does not run backwards: it goes on from the mark.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn accept_clock(&self) -> Result<(), StoreError>;

    /// Reports the state of the clock: good, or the reason why new grants wait.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn clock_state(&self) -> Result<ClockState, StoreError>;
}

/// Number that [`Store::pulse`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_structs, reason = "it is one plain value")]
pub struct Pulse(pub u64);

/// State of the store's clock: says if its time can be trusted for new grants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockState {
    /// The time can be trusted.
    Good,
    /// The stored mark was more than 24 h away from the wall clock at opening. Due revokes run;
    /// new grants wait until somebody accepts the clock.
    Doubtful {
        /// The latest time that the store ever gave, UTC.
        mark: Time,
        /// Time of the wall clock, UTC.
        wall: Time,
    },
    /// The wall clock stepped by more than 2 s while the store was open. The store did not follow
    /// the step.
    Stepped {
        /// Present distance from the store's time to the wall clock; positive if the wall clock is
        /// ahead.
        by: TimeDelta,
    },
}

/// Name of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct RecordKey {
    /// Tenant that the record belongs to.
    pub tenant: TenantId,
    /// Kind of the record.
    pub kind: Kind,
    /// Key of the record: any text without NUL, at most 2,048 bytes.
    pub key: String,
}

impl RecordKey {
    /// Puts the three parts together.
    pub fn new(tenant: &TenantId, kind: Kind, key: impl Into<String>) -> Self {
        Self { tenant: tenant.clone(), kind, key: key.into() }
    }
}

/// Time at which a record needs work, its lane, and what must not happen at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// Lane that the work waits in.
    pub lane: Lane,
    /// Time at which the work is due (the store's time), UTC.
    pub due: Time,
    /// Serial key. Records of one serial key, whatever their tenant and lane, are claimed one at a
    /// time (law 14).
    pub serial: String,
}

impl Schedule {
    /// Schedules work in this lane, at this time and under this serial key.
    #[must_use]
    pub fn new(lane: Lane, due: Time, serial: impl Into<String>) -> Self {
        Self { lane, due, serial: serial.into() }
    }

    /// Schedules the first contact with a target; such contacts happen one at a time.
    #[must_use]
    pub fn contact(tenant: &TenantId, target: &TargetName, due: Time) -> Self {
        let lane = Lane::contact(tenant, target);
        Self { serial: lane.as_str().to_owned(), lane, due }
    }
}

/// A record as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Name of the record.
    pub at: RecordKey,
    /// Number of its changes, from 1. A record that was deleted and made again starts from 1.
    pub version: u64,
    /// Content of the record. It is JSON, but the store does not care.
    pub body: Vec<u8>,
    /// Time and lane of its next work, if there is any.
    pub schedule: Option<Schedule>,
    /// Labels that [`Store::page`] can filter by. Names and values are short texts.
    pub labels: BTreeMap<String, String>,
}

impl Record {
    /// Creates a record without a schedule and labels.
    #[must_use]
    pub fn new(at: RecordKey, version: u64, body: Vec<u8>) -> Self {
        Self { at, version, body, schedule: None, labels: BTreeMap::new() }
    }
}

/// Version that a change expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each: a new one must stop its build")]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// The record has exactly this version.
    Version(u64),
}

/// One record that a change writes, deletes or relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write {
    /// Name of the record.
    pub at: RecordKey,
    /// Condition that must hold before the change.
    pub expect: Expect,
    /// Action on the record.
    pub what: Writing,
}

impl Write {
    /// Writes this record if the expectation holds.
    #[must_use]
    pub fn new(at: RecordKey, expect: Expect, what: Writing) -> Self {
        Self { at, expect, what }
    }

    /// Deletes the record as it was read.
    #[must_use]
    pub fn deleting(record: &Record) -> Self {
        Self { at: record.at.clone(), expect: Expect::Version(record.version), what: Writing::Delete }
    }
}

/// Action of a change on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each: a new one must stop its build")]
pub enum Writing {
    /// Writes the record.
    Put {
        /// The new body.
        body: Vec<u8>,
        /// The new schedule.
        schedule: Option<Schedule>,
        /// The new labels.
        labels: BTreeMap<String, String>,
    },
    /// Deletes the record.
    Delete,
    /// Only checks the expectation.
    Guard,
}

/// An entry of the audit log on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEntry {
    /// Id of the entry; a second entry of the same id is a [`StoreError::Conflict`].
    pub id: EntryId,
    /// Tenant whose log the entry belongs to.
    pub tenant: TenantId,
    /// Subject of the entry (an access id), for [`Store::entries_about`].
    pub subject: Option<String>,
    /// Canonical JSON of the entry: the tree hashes these bytes.
    pub body: Vec<u8>,
}

impl NewEntry {
    /// Creates an entry about no subject.
    #[must_use]
    pub fn new(id: EntryId, tenant: TenantId, body: Vec<u8>) -> Self {
        Self { id, tenant, subject: None, body }
    }
}

/// An entry as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// Id of the entry.
    pub id: EntryId,
    /// Number in the tenant's log, once the entry has one.
    pub number: Option<u64>,
    /// Canonical JSON of the entry.
    pub body: Vec<u8>,
}

impl StoredEntry {
    /// Creates an entry with its number, if it has one.
    #[must_use]
    pub fn new(id: EntryId, number: Option<u64>, body: Vec<u8>) -> Self {
        Self { id, number, body }
    }
}

/// Numbers for entries that have none. They are written once and never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Numbering {
    /// Tenant whose log is numbered.
    pub tenant: TenantId,
    /// Number of the first entry; the others follow without a gap.
    pub first: u64,
    /// Ids of the entries, in the order of their numbers.
    pub entries: Vec<EntryId>,
}

impl Numbering {
    /// Creates the numbers from `first` on for these entries.
    #[must_use]
    pub fn new(tenant: TenantId, first: u64, entries: Vec<EntryId>) -> Self {
        Self { tenant, first, entries }
    }
}

/// Everything that is committed together or not at all (law 9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Records to write, delete or check; no key twice.
    pub writes: Vec<Write>,
    /// Entries, appended in this order.
    pub entries: Vec<NewEntry>,
    /// Numbers for entries. A number that is taken or an entry that has one is a
    /// [`StoreError::Conflict`].
    pub numbering: Option<Numbering>,
    /// Claims that must still be held. If one is not, the change fails as [`StoreError::Fenced`].
    pub fences: Vec<Claim>,
    /// Claims to give back with the change. They are fences too.
    pub release: Vec<Claim>,
}

impl Change {
    /// Creates a change of these records and nothing else.
    #[must_use]
    pub fn writing(writes: Vec<Write>) -> Self {
        Self { writes, ..Self::default() }
    }

    /// Adds entries of the log.
    #[must_use]
    pub fn entries(self, entries: Vec<NewEntry>) -> Self {
        Self { entries, ..self }
    }

    /// Adds claims that must still be held.
    #[must_use]
    pub fn fences(self, fences: Vec<Claim>) -> Self {
        Self { fences, ..self }
    }
}

/// Answer to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The store's time of the commit, UTC.
    pub at: Time,
}

impl Committed {
    /// Creates the answer to a commit at this time.
    #[must_use]
    pub fn new(at: Time) -> Self {
        Self { at }
    }
}

/// Request for claims on due records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// Lane to claim from.
    pub lane: Lane,
    /// Largest number of records to claim.
    pub limit: usize,
    /// Time until the claims expire.
    pub how_long: TimeDelta,
    /// Node that claims.
    pub node: NodeId,
    /// Time after which a record must have become due. With it, the latest comes first. With none,
    /// every due record counts, and the earliest comes first.
    pub due_after: Option<Time>,
}

impl ClaimRequest {
    /// Creates the request of this node for records of this lane, whenever they became due.
    #[must_use]
    pub fn new(node: NodeId, lane: Lane, limit: usize, how_long: TimeDelta) -> Self {
        Self { lane, limit, how_long, node, due_after: None }
    }

    /// Leaves out what became due at this time or earlier, and begins with the latest. A node that
    /// has fallen behind takes what is new in this way, without what waits before it.
    #[must_use]
    pub fn due_after(self, time: Time) -> Self {
        Self { due_after: Some(time), ..self }
    }
}

/// Right to work on everything with this serial key, until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// Serial key that is claimed.
    pub serial: String,
    /// Fencing number. It grows with every claim of that serial key, so an older claim no longer
    /// counts.
    pub fencing: u64,
    /// Time from which somebody else may take the claim over (the store's time), UTC.
    pub until: Time,
    /// True if another node held the claim and let it expire. The work that this node began has to
    /// be settled first.
    pub taken_over: bool,
}

impl Claim {
    /// Creates a claim that was free.
    #[must_use]
    pub fn new(serial: impl Into<String>, fencing: u64, until: Time) -> Self {
        Self { serial: serial.into(), fencing, until, taken_over: false }
    }
}

/// A record with the claim on its serial key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claimed {
    /// The record as it was when claimed.
    pub record: Record,
    /// Claim on its serial key.
    pub claim: Claim,
}

impl Claimed {
    /// Creates the answer of a record with its claim.
    #[must_use]
    pub fn new(record: Record, claim: Claim) -> Self {
        Self { record, claim }
    }
}

/// Request for one page of records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageQuery {
    /// Tenant whose records are listed.
    pub tenant: TenantId,
    /// Kind of the records.
    pub kind: Kind,
    /// Filter: only records with this label (name, value).
    pub label: Option<(String, String)>,
    /// Filter: only records whose key sorts after this one (by bytes).
    pub after: Option<String>,
    /// Largest number of records.
    pub limit: usize,
}

impl PageQuery {
    /// Asks for the first records of this kind, whatever their labels.
    #[must_use]
    pub fn new(tenant: TenantId, kind: Kind, limit: usize) -> Self {
        Self { tenant, kind, label: None, after: None, limit }
    }
}

/// Errors of a store, sorted by what the caller may conclude.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record is not what was expected; nothing was changed. Read again and decide again.
    #[error(
        "`{kind} {key}` was changed by somebody else meanwhile: nothing was changed here; read it again and decide again"
    )]
    Conflict {
        /// The kind of the record (or `entry`).
        kind: &'static str,
        /// Key of the record, or id of the entry.
        key: String,
    },
    /// A claim of the change is no longer held; nothing was changed. Somebody else does the work
    /// now.
    #[error("the claim on `{serial}` was taken over by another node")]
    Fenced {
        /// Serial key that was claimed.
        serial: String,
    },
    /// The change may or may not have been applied. Read before deciding again.
    #[error("it is not known whether the store kept the change: {why}; read before you do it again")]
    OutcomeUnknown {
        /// Description of what happened.
        why: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The store cannot be written; nothing was changed.
    #[error("the store is read-only: {hint}")]
    ReadOnly {
        /// Advice on what to do.
        hint: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// There is no room; nothing was changed.
    #[error("the store has no room left: {hint}")]
    Full {
        /// Advice on what to do.
        hint: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The store was written by a newer version of this software.
    #[error(
        "the store has schema {found}, this version knows up to {known}: run the newer version, the store is left as it is"
    )]
    Newer {
        /// Schema version of the store.
        found: i64,
        /// Newest schema version that this software knows.
        known: i64,
    },
    /// The store cannot be reached, or does not answer as it should; nothing was changed.
    #[error("the store cannot be used: {why}")]
    Unavailable {
        /// Description of what happened, and what to do.
        why: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The data that was read cannot come from this system.
    #[error("`{kind} {key}` in the store is damaged or was tampered with: {why}")]
    Damaged {
        /// The kind of the record (or `entry`).
        kind: &'static str,
        /// Key of the record, or id of the entry.
        key: String,
        /// Description of what is wrong with it.
        why: String,
    },
}

/// Source of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
