//! Copies of the log outside the store. A sink gets every entry in order, at least once. It may
//! lag, but it loses nothing.

mod json_lines;
mod lines_in_tracing;

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::json_lines::JsonLines;
pub use self::lines_in_tracing::TracingSink;

use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::head::{LogHead, put, read_checkpoint};
use crate::id::{EntryId, TenantId};
use crate::store::{BoxError, Change, Expect, Kind, PageQuery, RecordKey, Store, StoreError};

/// A place outside the store that keeps the log.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use jit_core::TenantId;
/// use jit_core::audit::{AuditSink, Checkpoint, NumberedEntry, SinkError};
///
/// /// Keeps the entries in memory, for tests. An entry that comes again replaces itself.
/// #[derive(Debug, Default)]
/// struct InMemory(Mutex<BTreeMap<(TenantId, u64), Vec<u8>>>);
///
/// #[async_trait]
/// impl AuditSink for InMemory {
///     fn name(&self) -> &str {
///         "in-memory"
///     }
///
///     async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError> {
///         let mut kept = self.0.lock().unwrap();
///         for entry in batch {
///             kept.insert((entry.tenant.clone(), entry.number), entry.line());
///         }
///         Ok(())
///     }
///
///     async fn checkpoint(&self, _: &Checkpoint) -> Result<(), SinkError> {
///         Ok(())
///     }
/// }
///
/// let builder = jit_core::Jit::builder().audit_sink(InMemory::default());
/// ```
#[async_trait]
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Returns a name that is unique among the tenant's sinks, on all hosts and for ever. The
    /// progress of the sink is stored under it. If two sinks have one name, each lacks what the
    /// other got.
    fn name(&self) -> &str;

    /// Takes entries of one tenant in the order of their numbers. `Ok` means that they are safe
    /// there. The same entries may come again if that answer is lost.
    ///
    /// # Errors
    /// [`SinkError`]; the entries come again.
    async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError>;

    /// Takes a checkpoint, after all entries that it covers.
    ///
    /// # Errors
    /// [`SinkError`]; the checkpoint comes again.
    async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), SinkError>;
}

/// An entry with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumberedEntry {
    /// Tenant that owns the log.
    pub tenant: TenantId,
    /// Number of the entry.
    pub number: u64,
    /// Id of the entry.
    pub id: EntryId,
    /// Canonical JSON of the entry.
    pub body: Vec<u8>,
}

impl NumberedEntry {
    /// Returns the line that an export has for the entry, with its end:
    /// `{"number":N,"leaf":"H","entry":E}`.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        super::export::entry_line(self.number, &Hash::leaf(&self.body), &self.body)
    }
}

/// Reason why a sink did not take something. It carries no secret.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct SinkError {
    /// Reason, and what to do.
    pub why: String,
    /// Cause of the error.
    #[source]
    pub source: Option<BoxError>,
}

impl SinkError {
    /// Creates an error for this reason.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// Adds the cause of the error.
    #[must_use]
    pub fn caused_by(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// Progress of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Delivered {
    /// Number of entries that this call delivered.
    pub entries: usize,
    /// Number of checkpoints that this call delivered.
    pub checkpoints: usize,
    /// Number of the first entry that the sink does not have.
    pub next: u64,
    /// True if more is waiting.
    pub more: bool,
}

/// Reason why a delivery did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DeliverError {
    /// The store failed during the delivery.
    #[error("the log could not be read, or the sink's progress could not be stored")]
    Store(#[from] StoreError),
    /// The sink failed; it gets everything later.
    #[error("the audit sink `{sink}` accepts no entries: {error}")]
    Sink {
        /// Name of the sink.
        sink: String,
        /// Cause of the error.
        #[source]
        error: SinkError,
    },
}

/// Delivers up to `limit` further entries to a sink, and the checkpoints that cover what it has.
/// Several nodes may do so at once; the sink then gets some entries twice.
///
/// # Errors
/// [`DeliverError::Sink`] if the sink fails. Nothing is lost: the next call begins where it
/// stopped.
pub(crate) async fn deliver_pending(
    store: &dyn Store,
    tenant: &TenantId,
    sink: &dyn AuditSink,
    limit: usize,
) -> Result<Delivered, DeliverError> {
    let at = RecordKey::new(tenant, Kind::SinkCursor, sink.name());
    let mut records = store.read_all(&[at.clone(), LogHead::at(tenant)]).await?.into_iter();
    let (record, head) = (records.next().flatten(), LogHead::parse(records.next().flatten().as_ref())?);
    let damaged = |why: String| StoreError::Damaged { kind: "sink-cursor", key: at.key.clone(), why };
    let before: Cursor = match &record {
        None => Cursor::default(),
        Some(record) => serde_json::from_slice(&record.body).map_err(|error| damaged(error.to_string()))?,
    };
    if before.next > head.size {
        let why =
            format!("the sink has {} entries, the log only {}: the log was cut or set back", before.next, head.size);
        return Err(damaged(why).into());
    }
    let refused = |error| DeliverError::Sink { sink: sink.name().to_owned(), error };
    let mut cursor = before;
    let batch = numbered(store, tenant, before.next, limit.min(size_of(&head, before.next))).await?;
    if !batch.is_empty() {
        sink.deliver(&batch).await.map_err(refused)?;
        cursor.next = before.next.saturating_add(batch.len() as u64);
    }
    let mut outcome = Ok(());
    let mut checkpoints = 0_usize;
    for checkpoint in covered(store, tenant, &cursor, limit).await? {
        outcome = sink.checkpoint(&checkpoint).await.map_err(refused);
        if outcome.is_err() {
            break;
        }
        cursor.checkpoint = checkpoint.statement().size;
        checkpoints = checkpoints.saturating_add(1);
    }
    if cursor != before {
        let expect = record.map_or(Expect::Absent, |record| Expect::Version(record.version));
        let body = serde_json::to_vec(&cursor).map_err(|error| damaged(error.to_string()))?;
        match store.commit(Change { writes: vec![put(at, expect, body)], ..Change::default() }).await {
            // another node delivered the same meanwhile, and its record is just as true
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    outcome?;
    let waiting =
        cursor.next < head.size || (cursor.next >= head.checkpointed && cursor.checkpoint < head.checkpointed);
    // without progress, another call would not help
    let more = waiting && cursor != before;
    Ok(Delivered { entries: batch.len(), checkpoints, next: cursor.next, more })
}

/// Progress of a sink, as the store has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Number of the first entry that the sink does not have.
    next: u64,
    /// Size of the last checkpoint that the sink has.
    checkpoint: u64,
}

fn size_of(head: &LogHead, next: u64) -> usize {
    usize::try_from(head.size.saturating_sub(next)).unwrap_or(usize::MAX)
}

async fn numbered(
    store: &dyn Store,
    tenant: &TenantId,
    from: u64,
    limit: usize,
) -> Result<Vec<NumberedEntry>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let mut batch = Vec::new();
    for (entry, number) in store.entries(tenant, from, limit).await?.into_iter().zip(from..) {
        if entry.number != Some(number) {
            let why = "it is missing: a sink gets no log with a gap, run an audit verification".to_owned();
            return Err(StoreError::Damaged { kind: "entry", key: number.to_string(), why });
        }
        batch.push(NumberedEntry { tenant: tenant.clone(), number, id: entry.id, body: entry.body });
    }
    if batch.is_empty() {
        let why = "it is missing, although the log's head counts it: run an audit verification".to_owned();
        return Err(StoreError::Damaged { kind: "entry", key: from.to_string(), why });
    }
    Ok(batch)
}

/// Reads the checkpoints that the sink does not have and whose entries it has.
async fn covered(
    store: &dyn Store,
    tenant: &TenantId,
    cursor: &Cursor,
    limit: usize,
) -> Result<Vec<Checkpoint>, StoreError> {
    let ask = PageQuery {
        tenant: tenant.clone(),
        kind: Kind::Checkpoint,
        label: None,
        after: Some(format!("{:020}", cursor.checkpoint)),
        limit,
    };
    let mut covered = Vec::new();
    for record in store.page(&ask).await? {
        let checkpoint = read_checkpoint(&record)?;
        if checkpoint.statement().size > cursor.next {
            break;
        }
        covered.push(checkpoint);
    }
    Ok(covered)
}

#[cfg(test)]
mod tests;
