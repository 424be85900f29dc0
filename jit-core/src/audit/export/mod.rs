//! A log as JSON lines that anyone can verify with the public key alone. This needs neither this
//! software running nor its store.
//!
//! The first line is `{"jit_audit_export":1,"size":N,"tenant":"T"}`. Then the entries follow in the
//! order of their numbers, each as `{"number":N,"leaf":"H","entry":E}`. `E` are the very bytes that
//! the tree hashes. `H` is the leaf hash that the stored tree has for them.
//!
//! Each checkpoint follows the entry that completes it, as `{"checkpoint":"NOTE"}`. The last line
//! is the checkpoint of size `N`. Every line has exactly this form, so that not one byte can be
//! changed unnoticed.

mod line;
mod verify;

use std::io::{self, Write};

use self::line::header_line;
use super::checkpoint::Checkpoint;
use super::head::{LogHead, read_checkpoint};
use super::tile::{TILE_WIDTH, Tile, TileId};
use crate::id::TenantId;
use crate::store::{Kind, PageQuery, Store, StoreError, StoredEntry};

pub(super) use self::line::{checkpoint_line, entry_line};
pub use self::verify::{Exported, verify_export};

/// Reason why an export is not written or does not verify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store could not be read.
    #[error("the log could not be read")]
    Store(#[from] StoreError),
    /// The file could not be written or read.
    #[error("the export could not be written or read")]
    File(#[from] io::Error),
    /// The log has no checkpoint that could vouch for the export.
    #[error("the log of `{tenant}` has no checkpoint yet that an export could end with: make one first")]
    NoCheckpoint {
        /// Tenant that owns the log.
        tenant: TenantId,
    },
    /// The export was changed.
    #[error(transparent)]
    Broken(#[from] super::broken::Broken),
}

/// Writes the log up to its latest checkpoint, and returns that checkpoint. Entries after it are
/// left out: make a checkpoint first to include them. Each line carries the hash that the stored
/// tree has. So a log that was tampered with is exported as it is, and verification names the
/// entry.
///
/// # Errors
/// [`ExportError`] says what failed.
pub async fn export(
    store: &dyn Store,
    tenant: &TenantId,
    out: &mut (dyn Write + Send),
) -> Result<Checkpoint, ExportError> {
    let size = LogHead::read(store, tenant).await?.checkpointed;
    let mut checkpoints =
        PageQuery { tenant: tenant.clone(), kind: Kind::Checkpoint, label: None, after: None, limit: 1 };
    let mut next = next_checkpoint(store, &mut checkpoints).await?;
    let mut last = None;
    writeln!(out, "{}", header_line(tenant, size))?;
    let mut number = 0;
    while number < size {
        let (id, _) = TileId::edge(0, number);
        let width = usize::try_from(size.saturating_sub(number)).unwrap_or(usize::MAX).min(TILE_WIDTH);
        let record = store.read(&id.at(tenant)).await?;
        let tile = Tile::decode(id, record.as_ref(), width)?;
        let entries = tile_of_entries(store, tenant, number, width).await?;
        for (entry, leaf) in entries.iter().zip(&tile.hashes) {
            out.write_all(&entry_line(number, leaf, &entry.body))?;
            number = number.saturating_add(1);
            if let Some(checkpoint) = next.take_if(|next| next.statement().size <= number) {
                writeln!(out, "{}", checkpoint_line(&checkpoint))?;
                last = Some(checkpoint);
                next = next_checkpoint(store, &mut checkpoints).await?;
            }
        }
    }
    out.flush()?;
    last.ok_or_else(|| ExportError::NoCheckpoint { tenant: tenant.clone() })
}

async fn next_checkpoint(store: &dyn Store, ask: &mut PageQuery) -> Result<Option<Checkpoint>, StoreError> {
    let Some(record) = store.page(ask).await?.into_iter().next() else { return Ok(None) };
    let checkpoint = read_checkpoint(&record)?;
    ask.after = Some(record.at.key);
    Ok(Some(checkpoint))
}

async fn tile_of_entries(
    store: &dyn Store,
    tenant: &TenantId,
    from: u64,
    width: usize,
) -> Result<Vec<StoredEntry>, StoreError> {
    let entries = store.entries(tenant, from, width).await?;
    if let Some((_, missing)) = entries.iter().zip(from..).find(|(entry, number)| entry.number != Some(*number)) {
        return Err(gone(missing));
    }
    if entries.len() < width {
        return Err(gone(from.saturating_add(entries.len() as u64)));
    }
    Ok(entries)
}

fn gone(number: u64) -> StoreError {
    StoreError::Damaged { kind: "entry", key: number.to_string(), why: "it is missing".to_owned() }
}
