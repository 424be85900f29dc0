//! Verification of a whole log in a store. Every entry is hashed again, the tree is built again,
//! and all that was signed is compared.

mod classify;
mod signed;
mod tiles;

use self::classify::classify;
use self::signed::Signed;
use self::tiles::Authentic;
use super::broken::{Broken, Damage};
use super::canonical;
use super::checkpoint::Checkpoint;
use super::hash::Hash;
use super::head::LogHead;
use super::key::VerifyingKey;
use super::tile::{TILE_WIDTH, TileId};
use super::tree::Edge;
use crate::id::TenantId;
use crate::store::{Store, StoreError, StoredEntry};

/// Number of tiles whose entries are in memory at a time.
const PAGE_TILES: u64 = 8;
/// Largest number of entries without a number that are counted.
const COUNT: usize = 10_000;

/// Result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedLog {
    /// Number of entries that have a number; all of them are as they were numbered.
    pub size: u64,
    /// Root over these entries.
    pub root: Hash,
    /// Number of entries without a number yet, counted up to 10,000.
    pub unnumbered: usize,
    /// Number of checkpoints that were checked.
    pub checkpoints: u64,
    /// Latest checkpoint. Entries up to its size are as they were signed.
    pub latest: Option<Checkpoint>,
}

/// Reason why a log is not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The log could not be read to its end.
    #[error("the log could not be read")]
    Store(#[from] StoreError),
    /// The log is not what it was.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Verifies the log of a tenant as it stands when the call begins; it may grow meanwhile. Memory
/// stays bounded whatever the length of the log. `keys` are those that may have signed its
/// checkpoints: the current one and its predecessors.
///
/// # Errors
/// [`VerifyError::Broken`] with the first bad entry and what is wrong with it;
/// [`VerifyError::Store`] if the store fails.
pub async fn verify(store: &dyn Store, tenant: &TenantId, keys: &[VerifyingKey]) -> Result<VerifiedLog, VerifyError> {
    let head = match LogHead::read(store, tenant).await {
        Err(StoreError::Damaged { why, .. }) => return Err(Broken::log(Damage::Head { why }).into()),
        other => other?,
    };
    let mut tree = Authentic::read(store, tenant, &head).await?;
    let mut signed = Signed::read(store, tenant, keys).await?;
    let mut edge = Edge::default();
    while edge.size() < head.size {
        let (page, gap) = page(store, tenant, edge.size(), head.size).await?;
        for entries in page.chunks(TILE_WIDTH) {
            let (id, _) = TileId::edge(0, edge.size());
            tile(store, tenant, &mut tree, id, entries).await?;
            for entry in entries {
                form(tenant, edge.size(), entry)?;
                edge.push(Hash::leaf(&entry.body), &mut Vec::new());
                signed.compare(&edge).await?;
            }
        }
        // the entries before a gap are compared first: if the others were numbered anew, the gap is
        // earlier
        if let Some(gap) = gap {
            return Err(gap.into());
        }
        tokio::task::yield_now().await;
    }
    let later = store.entries(tenant, head.size, 1).await?;
    let now = LogHead::read(store, tenant).await?;
    if let Some(entry) = later.first().filter(|_| now.size <= head.size) {
        return Err(Broken::entry(head.size, Some(entry.id.to_string()), Damage::Smuggled).into());
    }
    let (checkpoints, latest) = signed.finish(&head, &now).await?;
    let unnumbered = store.unnumbered(tenant, COUNT).await?.len();
    Ok(VerifiedLog { size: head.size, root: head.root, unnumbered, checkpoints, latest })
}

/// Reads whole tiles of entries from this number, or the rest of them. If the entries end before a
/// gap, it is returned too.
async fn page(
    store: &dyn Store,
    tenant: &TenantId,
    from: u64,
    size: u64,
) -> Result<(Vec<StoredEntry>, Option<Broken>), StoreError> {
    let end = size.min(from.saturating_add(PAGE_TILES.saturating_mul(TILE_WIDTH as u64)));
    let mut page: Vec<StoredEntry> = Vec::new();
    loop {
        let number = from.saturating_add(page.len() as u64);
        if number >= end {
            return Ok((page, None));
        }
        let limit = usize::try_from(end.saturating_sub(number)).unwrap_or(usize::MAX);
        let more = store.entries(tenant, number, limit).await?;
        if more.is_empty() {
            return Ok((page, Some(Broken::entry(number, None, Damage::Truncated { size }))));
        }
        for (entry, expected) in more.into_iter().zip(number..) {
            let gap = match entry.number {
                Some(found) if found == expected => {
                    page.push(entry);
                    continue;
                }
                Some(found) if found > expected => Broken::entry(expected, None, Damage::Dropped),
                _ => Broken::entry(expected, Some(entry.id.to_string()), Damage::Smuggled),
            };
            return Ok((page, Some(gap)));
        }
    }
}

/// Compares the entries of one tile with the tile, and the tile with the tree above.
async fn tile(
    store: &dyn Store,
    tenant: &TenantId,
    tree: &mut Authentic<'_>,
    id: TileId,
    entries: &[StoredEntry],
) -> Result<(), VerifyError> {
    let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(&entry.body)).collect();
    // a tile that ends in a gap is compared up to the gap
    let is_whole = leaves.len() == TILE_WIDTH;
    let above = tree.parent_of(id).await?.filter(|_| is_whole);
    let stored = tree.stored(id, leaves.len()).await;
    // The hash above is authentic. If the entries have this hash, they are what was numbered,
    // whatever the tile says.
    let good = above.is_some_and(|above| above == Hash::over(&leaves));
    let stored = match stored {
        Ok(stored) => stored,
        Err(VerifyError::Broken(broken)) if !good => {
            let first = entries.first().and_then(|entry| entry.number);
            return Err(Broken { number: first, ..broken }.into());
        }
        Err(error) => return Err(error),
    };
    if stored == leaves && (good || above.is_none()) {
        return Ok(());
    }
    if good {
        let why = "its entries are unchanged since they were numbered, the tile is not".to_owned();
        return Err(Broken::log(Damage::Tile { id, why }).into());
    }
    let Some(bad) = stored.iter().zip(&leaves).position(|(stored, leaf)| stored != leaf) else {
        let why = "it and one or more of its entries were changed together, the tile above was not".to_owned();
        let number = entries.first().and_then(|entry| entry.number);
        return Err(Broken { number, id: None, damage: Damage::Tile { id, why } }.into());
    };
    Err(classify(store, tenant, entries, bad, &stored).await?.into())
}

/// Checks the entry's form, and its own statements about itself.
fn form(tenant: &TenantId, number: u64, entry: &StoredEntry) -> Result<(), Broken> {
    let broken = |why: String| Broken::entry(number, Some(entry.id.to_string()), Damage::Form { why });
    let found = canonical::check(&entry.body).map_err(|why| broken(format!("it is not canonical JSON: {why}")))?;
    if found.id.as_deref() != Some(entry.id.to_string().as_str()) {
        return Err(broken("it stands under an id that is not its own".to_owned()));
    }
    if found.tenant.as_deref() != Some(tenant.as_str()) {
        return Err(broken("it says that it belongs to another tenant".to_owned()));
    }
    Ok(())
}
