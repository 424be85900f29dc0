//! Classification of an entry that is not the one that was numbered.

use crate::audit::broken::{Broken, Damage};
use crate::audit::hash::Hash;
use crate::audit::tile::{TILE_WIDTH, Tile};
use crate::id::TenantId;
use crate::store::{Kind, PageQuery, Store, StoreError, StoredEntry};

/// Names the kind of tampering. `entries` are those of one tile, `stored` the hashes that the tile
/// has for them, `bad` the first place where they differ. This reads the tree's lowest level once.
/// It is done for one entry only, the first bad one.
pub(super) async fn classify(
    store: &dyn Store,
    tenant: &TenantId,
    entries: &[StoredEntry],
    bad: usize,
    stored: &[Hash],
) -> Result<Broken, StoreError> {
    let (Some(entry), Some(wanted)) = (entries.get(bad), stored.get(bad)) else {
        return Ok(Broken::log(Damage::Changed));
    };
    let number = entry.number.unwrap_or_default();
    let next = number.saturating_add(1);
    let is_wanted = |entry: Option<&StoredEntry>| entry.is_some_and(|entry| Hash::leaf(&entry.body) == *wanted);
    let wrong = match find(store, tenant, &Hash::leaf(&entry.body)).await? {
        Some(home) if home == number => Damage::Changed,
        Some(home) => {
            let there = store.entries(tenant, home, 1).await?;
            if is_wanted(there.first()) {
                Damage::Swapped { with: home }
            } else if home > number {
                // it moved down into the gap
                Damage::Dropped
            } else {
                // a second copy of an earlier one
                Damage::Smuggled
            }
        }
        None if is_wanted(store.entries(tenant, next, 1).await?.first()) => Damage::Smuggled,
        None => Damage::Changed,
    };
    let id = (wrong != Damage::Dropped).then(|| entry.id.to_string());
    Ok(Broken::entry(number, id, wrong))
}

/// Finds the number under which the tree has this leaf.
async fn find(store: &dyn Store, tenant: &TenantId, leaf: &Hash) -> Result<Option<u64>, StoreError> {
    let mut ask = PageQuery { tenant: tenant.clone(), kind: Kind::LogTile, label: None, after: None, limit: 64 };
    loop {
        let page = store.page(&ask).await?;
        for record in &page {
            let Some(index) = record.at.key.strip_prefix("00/").and_then(|index| index.parse::<u64>().ok()) else {
                return Ok(None);
            };
            let place = Tile::hashes(&record.body).position(|hash| hash == *leaf);
            if let Some(place) = place {
                return Ok(Some(index.saturating_mul(TILE_WIDTH as u64).saturating_add(place as u64)));
            }
        }
        match page.last() {
            Some(last) => ask.after = Some(last.at.key.clone()),
            None => return Ok(None),
        }
    }
}
