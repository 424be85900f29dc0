//! Numbering of entries. Entries commit without waiting for each other's place in the log. The
//! sequencer gives them their place, in batches.

use std::collections::BTreeMap;

use super::checkpoint::{Checkpoint, Statement, origin};
use super::hash::Hash;
use super::head::{LogHead, Standing, checkpoint_at, damaged, put, stored_checkpoint};
use super::key::SigningKey;
use super::proof::{ProofPlan, TreeHead, verify_consistency};
use super::read::read_tiles;
use super::tree::Edge;
use crate::clock::Time;
use crate::id::TenantId;
use crate::store::{Change, Expect, Numbering, Store, StoreError, StoredEntry};

/// Number of entries that one step of the sequencer takes by default: a few milliseconds of
/// hashing.
pub const BATCH: usize = 4096;

/// Result of one step of the sequencer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advanced {
    /// Number of entries of the log that have a number now.
    pub size: u64,
    /// Number of entries that this call numbered.
    pub numbered: usize,
    /// True if more entries may be waiting.
    pub more: bool,
}

/// Numbers up to `limit` entries in the order of their commits and extends the tree by them, in one
/// commit. Another node may do the same at the same time without error. One of the two wins, and
/// the other reports what is there.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] if head, tiles and numbers do not fit each other. Then
/// the log stands still until somebody has looked, because anything after that would be signed.
pub async fn advance(store: &dyn Store, tenant: &TenantId, limit: usize) -> Result<Advanced, StoreError> {
    let entries = store.unnumbered(tenant, limit).await?;
    let Some(first) = entries.first() else {
        let size = LogHead::read(store, tenant).await?.size;
        return Ok(Advanced { size, numbered: 0, more: false });
    };
    let standing = Standing::read(store, tenant).await?;
    let (head, change) = extend(tenant, &standing, &entries)?;
    match store.commit(change).await {
        Ok(_) => Ok(Advanced { size: head.size, numbered: entries.len(), more: entries.len() >= limit }),
        Err(StoreError::Conflict { .. }) => {
            let now = LogHead::read(store, tenant).await?;
            let waiting = store.unnumbered(tenant, 1).await?;
            if now == standing.head && waiting.first() == Some(first) {
                return Err(damaged("it does not fit the numbers and tiles that are there: run an audit verification"));
            }
            Ok(Advanced { size: now.size, numbered: 0, more: !waiting.is_empty() })
        }
        Err(error) => Err(error),
    }
}

/// Signs and stores a checkpoint if the log grew since the last one. `None` if it did not, or if
/// another node was faster. It signs a log only if the last checkpoint is a beginning of it.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] if the log does not continue what was signed before.
pub async fn checkpoint(
    store: &dyn Store,
    tenant: &TenantId,
    key: &SigningKey,
    now: Time,
) -> Result<Option<Checkpoint>, StoreError> {
    let head = LogHead::read(store, tenant).await?;
    if head.size == head.checkpointed {
        return Ok(None);
    }
    let standing = Standing::read(store, tenant).await?;
    if standing.head.size == standing.head.checkpointed {
        return Ok(None);
    }
    if let Some(last) = stored_checkpoint(store, tenant, standing.head.checkpointed).await? {
        continues(store, tenant, last.statement(), &standing.head).await?;
    }
    let LogHead { size, root, epoch, .. } = standing.head;
    let statement = Statement { origin: origin(tenant), size, root, at: now, epoch };
    let signed = Checkpoint::sign(statement, key);
    let grown = LogHead { checkpointed: size, ..standing.head.clone() };
    let change = Change {
        writes: vec![
            put(checkpoint_at(tenant, size), Expect::Absent, signed.note().as_bytes().to_vec()),
            grown.write(tenant, standing.expect)?,
        ],
        ..Change::default()
    };
    match store.commit(change).await {
        Ok(_) => Ok(Some(signed)),
        Err(StoreError::Conflict { .. }) if LogHead::read(store, tenant).await? == standing.head => Err(damaged(
            "a checkpoint of its size exists already, and it does not know of it: run an audit verification",
        )),
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the change that numbers these entries, and the head after it.
fn extend(tenant: &TenantId, standing: &Standing, entries: &[StoredEntry]) -> Result<(LogHead, Change), StoreError> {
    let mut edge = standing.edge.clone();
    let mut tiles = Vec::new();
    for entry in entries {
        edge.push(Hash::leaf(&entry.body), &mut tiles);
    }
    let before: BTreeMap<_, _> = Edge::tiles(standing.head.size).into_iter().collect();
    // a tile that is not full and that this batch did not reach stays as it is
    tiles.extend(edge.partial().into_iter().filter(|tile| before.get(&tile.id) != Some(&tile.hashes.len())));
    let head = LogHead { size: edge.size(), root: edge.root(), ..standing.head.clone() };
    let mut writes = vec![head.write(tenant, standing.expect)?];
    for tile in tiles {
        let expect = standing.versions.get(&tile.id).map_or(Expect::Absent, |version| Expect::Version(*version));
        writes.push(put(tile.id.at(tenant), expect, tile.encode()));
    }
    let numbering = Numbering {
        tenant: tenant.clone(),
        first: standing.head.size,
        entries: entries.iter().map(|entry| entry.id).collect(),
    };
    Ok((head, Change { writes, numbering: Some(numbering), ..Change::default() }))
}

/// Checks that the log as it stands continues the statement.
async fn continues(store: &dyn Store, tenant: &TenantId, last: &Statement, head: &LogHead) -> Result<(), StoreError> {
    let shorter =
        || damaged("it is shorter than its last checkpoint: the store was set back, or entries were taken out");
    let plan = ProofPlan::consistency(last.size, head.size).ok_or_else(shorter)?;
    let proof = read_tiles(store, tenant, &plan).await?;
    verify_consistency(TreeHead::new(last.size, last.root), TreeHead::new(head.size, head.root), &proof)
        .map_err(|_| damaged("it does not continue its last checkpoint: run an audit verification"))
}

#[cfg(test)]
mod tests;
