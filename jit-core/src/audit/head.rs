//! Position of a tenant's log: the head record and the tiles at the right edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::tile::{Tile, TileId};
use super::tree::Edge;
use crate::id::TenantId;
use crate::store::{Expect, Kind, Record, RecordKey, Store, StoreError, Write, Writing};

/// Head record of a tenant's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogHead {
    /// Number of entries that have a number.
    pub size: u64,
    /// Root over these entries.
    pub root: Hash,
    /// Number of times that the log went on after a restored store.
    pub epoch: u64,
    /// Size that the latest checkpoint states; 0 before the first.
    pub checkpointed: u64,
}

impl LogHead {
    /// Reads the head. An empty log has no record.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Damaged`] if the record cannot be what was written.
    pub async fn read(store: &dyn Store, tenant: &TenantId) -> Result<Self, StoreError> {
        Self::parse(store.read(&Self::at(tenant)).await?.as_ref())
    }

    /// Returns the key of its record.
    pub(super) fn at(tenant: &TenantId) -> RecordKey {
        RecordKey::new(tenant, Kind::LogHead, "head")
    }

    pub(super) fn write(&self, tenant: &TenantId, expect: Expect) -> Result<Write, StoreError> {
        let body = serde_json::to_vec(self).map_err(|error| damaged(&error.to_string()))?;
        Ok(put(Self::at(tenant), expect, body))
    }

    pub(super) fn parse(record: Option<&Record>) -> Result<Self, StoreError> {
        match record {
            None => Ok(Self { size: 0, root: Hash::empty(), epoch: 0, checkpointed: 0 }),
            Some(record) => serde_json::from_slice(&record.body).map_err(|error| damaged(&error.to_string())),
        }
    }
}

/// Reads the checkpoint that the head calls the latest.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] if the checkpoint is missing or cannot be read.
pub async fn latest_checkpoint(store: &dyn Store, tenant: &TenantId) -> Result<Option<Checkpoint>, StoreError> {
    stored_checkpoint(store, tenant, LogHead::read(store, tenant).await?.checkpointed).await
}

/// Reads the checkpoint of this size. `None` if the size is 0.
pub(super) async fn stored_checkpoint(
    store: &dyn Store,
    tenant: &TenantId,
    size: u64,
) -> Result<Option<Checkpoint>, StoreError> {
    if size == 0 {
        return Ok(None);
    }
    let at = checkpoint_at(tenant, size);
    let record = store.read(&at).await?.ok_or_else(|| StoreError::Damaged {
        kind: "checkpoint",
        key: at.key.clone(),
        why: "the log's head says that it was made, but it is missing".to_owned(),
    })?;
    read_checkpoint(&record).map(Some)
}

/// Returns the key of the checkpoint of this size. The size is zero-padded, so that the order of
/// keys is the order of sizes.
pub(super) fn checkpoint_at(tenant: &TenantId, size: u64) -> RecordKey {
    RecordKey::new(tenant, Kind::Checkpoint, format!("{size:020}"))
}

/// Reads a stored checkpoint and checks that it is stored under its own size. Its signatures are
/// not checked.
pub(super) fn read_checkpoint(record: &Record) -> Result<Checkpoint, StoreError> {
    let damaged = |why: String| StoreError::Damaged { kind: "checkpoint", key: record.at.key.clone(), why };
    let note = std::str::from_utf8(&record.body).map_err(|_| damaged("it is not a text".to_owned()))?;
    let checkpoint = Checkpoint::read(note).map_err(|error| damaged(error.to_string()))?;
    if checkpoint_at(&record.at.tenant, checkpoint.statement().size) != record.at {
        return Err(damaged(format!("it is of size {}", checkpoint.statement().size)));
    }
    Ok(checkpoint)
}

pub(super) fn put(at: RecordKey, expect: Expect, body: Vec<u8>) -> Write {
    Write { at, expect, what: Writing::Put { body, schedule: None, labels: BTreeMap::new() } }
}

pub(super) fn damaged(why: &str) -> StoreError {
    StoreError::Damaged { kind: Kind::LogHead.as_str(), key: "head".to_owned(), why: why.to_owned() }
}

/// Head and edge of one snapshot.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) head: LogHead,
    pub(super) expect: Expect,
    pub(super) edge: Edge,
    /// Versions of the edge's tiles.
    pub(super) versions: BTreeMap<TileId, u64>,
}

impl Standing {
    /// Reads head and tiles, and checks that the tiles have the head's root.
    pub(super) async fn read(store: &dyn Store, tenant: &TenantId) -> Result<Self, StoreError> {
        let at = LogHead::at(tenant);
        let mut seen = store.read(&at).await?;
        // the head decides which tiles make the edge; if it moved in between, look again with the
        // one just seen
        for _ in 0..8 {
            let head = LogHead::parse(seen.as_ref())?;
            let tiles = Edge::tiles(head.size);
            let mut keys = vec![at.clone()];
            keys.extend(tiles.iter().map(|(id, _)| id.at(tenant)));
            let mut records = store.read_all(&keys).await?.into_iter();
            let now = records.next().flatten();
            if now == seen {
                return Self::build(head, now.as_ref(), &tiles, records.collect());
            }
            seen = now;
        }
        Err(StoreError::Conflict { kind: Kind::LogHead.as_str(), key: at.key })
    }

    fn build(
        head: LogHead,
        record: Option<&Record>,
        wanted: &[(TileId, usize)],
        records: Vec<Option<Record>>,
    ) -> Result<Self, StoreError> {
        let (mut tiles, mut versions) = (Vec::new(), BTreeMap::new());
        for ((id, width), record) in wanted.iter().zip(&records) {
            tiles.push(Tile::decode(*id, record.as_ref(), *width)?);
            versions.extend(record.as_ref().map(|record| (*id, record.version)));
        }
        let edge = Edge::from_tiles(head.size, tiles).ok_or_else(|| damaged("its tiles do not fit its size"))?;
        if edge.root() != head.root {
            return Err(damaged("its root is not that of the tiles: run an audit verification"));
        }
        let expect = record.map_or(Expect::Absent, |record| Expect::Version(record.version));
        Ok(Self { head, expect, edge, versions })
    }
}
