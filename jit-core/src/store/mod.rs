//! Where everything is kept: versioned records, the entries of the audit log, and the store's own time.
//!
//! A store knows nothing of roles. It promises four things: a change is whole or absent (law 9), time never runs
//! backwards (law 10), tenants are walls (law 13), and one claim per serial key exists at a time, whoever asks (law 14).

mod check;
mod identity;
mod kind;
mod lane;
mod memory;
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
#[cfg(any(test, feature = "testkit"))]
pub(crate) use memory::Replica;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use time::{Doubt, Mark, STALE_MARK, STEP_ALLOWED, Timekeeper};

use crate::clock::Time;
use crate::id::{EntryId, NodeId, TargetName, TenantId};

/// What the engine needs of a place that keeps things.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The store's time, UTC: never earlier than any time that it gave before, to anybody (law 10).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn now(&self) -> Result<Time, StoreError>;

    /// Returns at `until` (the store's time), or as soon as any process committed something since `seen`, whichever
    /// comes first. `seen` is what [`Store::pulse`] gave before the caller last looked, so no commit is missed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError>;

    /// A number that changes with every commit that this process can see.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached.
    async fn pulse(&self) -> Result<Pulse, StoreError>;

    /// Does all of the change, or nothing of it. Concurrent calls may share one transaction, in which a conflicting
    /// change fails alone. When this returns `Ok`, the change is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a version is not the one expected; [`StoreError::Fenced`] when a claim of the
    /// change has been taken over; the others as they say.
    async fn commit(&self, change: Change) -> Result<Committed, StoreError>;

    /// Claims up to `limit` records of the lane that are due now, earliest first, and of them one per serial key. A
    /// record whose serial key is claimed by anybody (and not expired) is passed over. An expired claim is taken over with a
    /// higher fencing number. Claims need not survive a crash of the machine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn claim(&self, ask: &ClaimAsk) -> Result<Vec<Claimed>, StoreError>;

    /// Gives claims back before they expire. One that is no longer held is ignored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError>;

    /// For each lane that has scheduled records: when its earliest record that nobody has claimed is due (the end of the
    /// claim where all its due ones are claimed). Ordered by lane.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError>;

    /// Records of the lane that nobody has claimed and that are due before `until`, earliest first, at most `limit`, and of them one per
    /// serial key: what a node has to know for when it cannot ask any more (law 3). Nothing is claimed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The record, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError>;

    /// The records of these keys, in their order, absent ones as `None`. One snapshot.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError>;

    /// Records of one kind of one tenant, ordered by key, after `ask.after`, those with the label where one is asked for.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn page(&self, ask: &PageAsk) -> Result<Vec<Record>, StoreError>;

    /// Numbered entries of the tenant's log from number `from` (the first is 0), at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError>;

    /// Entries of the tenant's log that have no number yet, in the order of their commits, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError>;

    /// Entries that carry this subject (an access id), numbered or not, in the order of their commits, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError>;

    /// Accepts the wall clock as it is, however far it went back: what `jit clock accept` does. The store's time still does not
    /// run backwards; it goes on from the mark.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn accept_clock(&self) -> Result<(), StoreError>;

    /// What is to be said about the clock: nothing, or why new grants wait (section 5 of the design).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and its like.
    async fn clock_state(&self) -> Result<ClockState, StoreError>;
}

/// See [`Store::pulse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse(pub u64);

/// Whether the store's time can be trusted for new grants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockState {
    /// It can.
    Good,
    /// At opening the stored mark was more than 24 h away from the wall clock: due revokes run, new grants wait until
    /// somebody accepts the clock.
    Doubtful {
        /// The latest time that the store ever gave, UTC.
        mark: Time,
        /// What the wall clock said, UTC.
        wall: Time,
    },
    /// The wall clock stepped by more than 2 s while the store was open; the step was not followed.
    Stepped {
        /// By how much it is off the store's time now, forward positive.
        by: TimeDelta,
    },
}

/// Names one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is.
    pub kind: Kind,
    /// Which one; any text without NUL, at most 2,048 bytes.
    pub key: String,
}

impl RecordKey {
    /// The three together.
    pub fn new(tenant: &TenantId, kind: Kind, key: impl Into<String>) -> Self {
        Self { tenant: tenant.clone(), kind, key: key.into() }
    }
}

/// When somebody must look at a record, in which lane, and what must not happen at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The queue.
    pub lane: Lane,
    /// The store's time, UTC.
    pub due: Time,
    /// Records of one serial key, whatever their tenant and lane, are claimed one at a time (law 14).
    pub serial: String,
}

impl Schedule {
    /// First contact with a target, one at a time.
    #[must_use]
    pub fn contact(tenant: &TenantId, target: &TargetName, due: Time) -> Self {
        let lane = Lane::contact(tenant, target);
        Self { serial: lane.as_str().to_owned(), lane, due }
    }
}

/// A record as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub at: RecordKey,
    /// Counts its changes from 1. A record that was deleted and made again starts from 1.
    pub version: u64,
    /// What it says (JSON, but the store does not care).
    pub body: Vec<u8>,
    /// When somebody must look.
    pub schedule: Option<Schedule>,
    /// What [`Store::page`] can ask for; names and values are short texts.
    pub labels: BTreeMap<String, String>,
}

/// Which version a change expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// This very version.
    Version(u64),
}

/// One record that a change writes, deletes or relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which.
    pub at: RecordKey,
    /// What must be true before.
    pub expect: Expect,
    /// What to do.
    pub what: Writing,
}

impl Write {
    /// Deletes the record as it was read.
    #[must_use]
    pub fn deleting(record: &Record) -> Self {
        Self { at: record.at.clone(), expect: Expect::Version(record.version), what: Writing::Delete }
    }
}

/// What a change does to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writing {
    /// Writes it.
    Put {
        /// The new body.
        body: Vec<u8>,
        /// The new schedule.
        schedule: Option<Schedule>,
        /// The new labels.
        labels: BTreeMap<String, String>,
    },
    /// Deletes it.
    Delete,
    /// Only checks the expectation.
    Guard,
}

/// An entry of the audit log on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its id; a second entry of the same id is a [`StoreError::Conflict`].
    pub id: EntryId,
    /// Whose log.
    pub tenant: TenantId,
    /// What it is about (an access id), for [`Store::entries_about`].
    pub subject: Option<String>,
    /// Its canonical JSON: these bytes are what the tree hashes.
    pub body: Vec<u8>,
}

/// An entry as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its id.
    pub id: EntryId,
    /// Its number in the tenant's log, once it has one.
    pub number: Option<u64>,
    /// Its canonical JSON.
    pub body: Vec<u8>,
}

/// Numbers for entries that have none: written once, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    /// Whose log.
    pub tenant: TenantId,
    /// The number of the first; the others follow without a gap.
    pub first: u64,
    /// The entries, in the order of their numbers.
    pub entries: Vec<EntryId>,
}

/// What is committed together or not at all (law 9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Records; no key twice.
    pub writes: Vec<Write>,
    /// Entries, appended in this order.
    pub entries: Vec<NewEntry>,
    /// Numbers for entries; a number or an entry that is already numbered is a [`StoreError::Conflict`].
    pub numbering: Option<Numbering>,
    /// Claims that must still be held; all of them are, or the change fails as [`StoreError::Fenced`].
    pub fences: Vec<Claim>,
    /// Claims to give back with the change (they are fences too).
    pub release: Vec<Claim>,
}

/// What a commit answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The store's time of it, UTC.
    pub at: Time,
}

/// What is to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimAsk {
    /// Which lane.
    pub lane: Lane,
    /// How many at most.
    pub limit: usize,
    /// For how long.
    pub how_long: TimeDelta,
    /// By whom.
    pub node: NodeId,
}

/// The right to work on what has this serial key, until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is serial.
    pub serial: String,
    /// Grows with every claim of that serial key: an older one no longer counts.
    pub fencing: u64,
    /// When somebody else may take it over, the store's time, UTC.
    pub until: Time,
    /// Whether somebody else held it and let it expire: what he began has to be settled first.
    pub taken_over: bool,
}

/// A record with the claim on its serial key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The record as it was when claimed.
    pub record: Record,
    /// The claim.
    pub claim: Claim,
}

/// Which records a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAsk {
    /// Whose.
    pub tenant: TenantId,
    /// Of which kind.
    pub kind: Kind,
    /// Only those with this label (name, value).
    pub label: Option<(String, String)>,
    /// Only those whose key sorts after this one (by bytes).
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// What can go wrong with a store, by what the caller may conclude.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record is not what was expected; nothing was changed. Read again and decide again.
    #[error("`{kind} {key}` was changed by somebody else meanwhile")]
    Conflict {
        /// The kind of the record (or `entry`).
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// A claim of the change is no longer held; nothing was changed. Somebody else does the work now.
    #[error("the claim on `{serial}` was taken over by another node")]
    Fenced {
        /// What was claimed.
        serial: String,
    },
    /// The change may have been done or not. Read before deciding again.
    #[error("it is not known whether the store kept the change: {why}")]
    OutcomeUnknown {
        /// What happened.
        why: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// Nothing can be written there; nothing was changed.
    #[error("the store is read-only: {hint}")]
    ReadOnly {
        /// What to do about it.
        hint: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// There is no room; nothing was changed.
    #[error("the store has no room left: {hint}")]
    Full {
        /// What to do about it.
        hint: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// The store was written by a newer version of this software.
    #[error(
        "the store has schema {found}, this version knows up to {known}: run the newer version, the store is left as it is"
    )]
    Newer {
        /// What it has.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// It cannot be reached, or does not answer as it should; nothing was changed.
    #[error("the store cannot be used: {why}")]
    Unavailable {
        /// What happened, and what to do.
        why: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// What was read cannot be what this system wrote.
    #[error("`{kind} {key}` in the store is damaged or was tampered with: {why}")]
    Damaged {
        /// The kind of the record (or `entry`).
        kind: &'static str,
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A source of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
