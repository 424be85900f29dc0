//! Numbering: entries commit without waiting for each other's place in the log; here they get it, in batches.

use std::collections::BTreeMap;

use super::checkpoint::{Checkpoint, Statement, origin};
use super::hash::Hash;
use super::head::{LogHead, Standing, checkpoint_at, damaged, put, stored_checkpoint};
use super::key::SigningKey;
use super::proof::{ProofPlan, verify_consistency};
use super::read::read_tiles;
use super::tree::Edge;
use crate::clock::Time;
use crate::id::TenantId;
use crate::store::{Change, Expect, Numbering, Store, StoreError, StoredEntry};

/// How many entries one step of the sequencer takes unless told otherwise: a few milliseconds of hashing.
pub const BATCH: usize = 4096;

/// What a step of the sequencer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// How many entries of the log have a number now.
    pub size: u64,
    /// How many of them this call numbered.
    pub numbered: usize,
    /// Whether more may be waiting.
    pub more: bool,
}

/// Numbers up to `limit` entries in the order of their commits and extends the tree by them, in one commit. Another node
/// that does the same at the same time is no error: one of the two wins, and the other says what is there.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] when head, tiles and numbers do not fit each other: then the log stands still
/// until somebody has looked, because whatever it went on with would be signed.
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

/// Signs and stores a checkpoint if the log grew since the last one. `None` when it did not, or when another node was
/// faster. It never signs a log that the last checkpoint is not a beginning of.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Damaged`] when what would be signed does not continue what was.
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
        Err(StoreError::Conflict { .. }) if LogHead::read(store, tenant).await? == standing.head => {
            Err(damaged("a checkpoint of its size is there already, which it does not know of"))
        }
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The change that numbers these entries, and the head after it.
fn extend(tenant: &TenantId, standing: &Standing, entries: &[StoredEntry]) -> Result<(LogHead, Change), StoreError> {
    let mut edge = standing.edge.clone();
    let mut tiles = Vec::new();
    for entry in entries {
        edge.push(Hash::leaf(&entry.body), &mut tiles);
    }
    let before: BTreeMap<_, _> = Edge::tiles(standing.head.size).into_iter().collect();
    // of the tiles that are not full, those that this batch did not reach stay as they are
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

/// Checks that the log as it stands continues what the statement says.
async fn continues(store: &dyn Store, tenant: &TenantId, last: &Statement, head: &LogHead) -> Result<(), StoreError> {
    let shorter =
        || damaged("it is shorter than its last checkpoint: the store was set back, or entries were taken out");
    let plan = ProofPlan::consistency(last.size, head.size).ok_or_else(shorter)?;
    let proof = read_tiles(store, tenant, &plan).await?;
    verify_consistency(last.size, &last.root, head.size, &head.root, &proof)
        .map_err(|_| damaged("its last checkpoint is not a beginning of it: run an audit verification"))
}

#[cfg(test)]
mod tests;
