//! Reading of the tiles that a proof needs.

use std::collections::BTreeMap;

use super::hash::Hash;
use super::proof::ProofPlan;
use super::tile::{Tile, TileId};
use crate::id::TenantId;
use crate::store::{RecordKey, Store, StoreError};

/// Makes the proof of this plan from the tiles in the store.
pub(super) async fn read_tiles(
    store: &dyn Store,
    tenant: &TenantId,
    plan: &ProofPlan,
) -> Result<Vec<Hash>, StoreError> {
    let wanted: Vec<(TileId, usize)> = plan.tiles().into_iter().collect();
    let keys: Vec<RecordKey> = wanted.iter().map(|(id, _)| id.at(tenant)).collect();
    let mut tiles = BTreeMap::new();
    for ((id, width), record) in wanted.into_iter().zip(store.read_all(&keys).await?) {
        tiles.insert(id, Tile::decode(id, record.as_ref(), width)?);
    }
    plan.make(&tiles).map_err(|missing| StoreError::Damaged {
        kind: "log-tile",
        key: missing.first().map(ToString::to_string).unwrap_or_default(),
        why: "it is missing".to_owned(),
    })
}
