//! The stored tiles. A tile is trusted only if the one above it vouches for it, up to the head's
//! root.

use std::collections::BTreeMap;

use super::VerifyError;
use crate::audit::broken::{Broken, Damage};
use crate::audit::hash::Hash;
use crate::audit::head::LogHead;
use crate::audit::tile::{TILE_WIDTH, Tile, TileId};
use crate::audit::tree::Edge;
use crate::id::TenantId;
use crate::store::{Store, StoreError};

/// The tiles that the head's root vouches for.
pub(super) struct Authentic<'a> {
    store: &'a dyn Store,
    tenant: &'a TenantId,
    /// Tiles at the right edge, whose root is the head's.
    edge: Edge,
    /// Full tile that was last used, one per level.
    full: BTreeMap<u8, Tile>,
}

impl<'a> Authentic<'a> {
    /// Reads the tiles of the edge and compares them with the head.
    pub(super) async fn read(store: &'a dyn Store, tenant: &'a TenantId, head: &LogHead) -> Result<Self, VerifyError> {
        let mut tree = Self { store, tenant, edge: Edge::default(), full: BTreeMap::new() };
        let mut tiles = Vec::new();
        for (id, width) in Edge::tiles(head.size) {
            let hashes = tree.stored(id, width).await?;
            tiles.push(Tile { id, hashes });
        }
        let head_broken = |why: &str| Broken::log(Damage::Head { why: why.to_owned() });
        tree.edge = Edge::from_tiles(head.size, tiles).ok_or_else(|| head_broken("its size does not fit the tiles"))?;
        if tree.edge.root() != head.root {
            return Err(head_broken("it and the tiles at the edge of the tree do not have the same root").into());
        }
        Ok(tree)
    }

    /// Returns the hash that the tree has for this tile. `None` for the tile that is not full,
    /// which the root itself covers.
    pub(super) async fn parent_of(&mut self, id: TileId) -> Result<Option<Hash>, VerifyError> {
        // up to a tile that is trusted already
        let mut path = vec![id];
        let mut at = id;
        while !self.is_edge(at) && (at == id || !self.is_known(at)) {
            at = at.parent().0;
            path.push(at);
        }
        // and down again
        path.pop();
        let mut hash = None;
        while let Some(below) = path.pop() {
            let (parent, place) = below.parent();
            let row = if self.is_edge(parent) {
                self.edge.row(parent.level)
            } else {
                self.full.get(&parent.level).map_or(&[][..], |tile| tile.hashes.as_slice())
            };
            let above = row.get(place).copied().ok_or_else(|| touched(below, "the tile above has no hash for it"))?;
            hash = Some(above);
            if below != id {
                let hashes = self.stored(below, TILE_WIDTH).await?;
                if Hash::over(&hashes) != above {
                    return Err(touched(below, "the tile above has another hash for it").into());
                }
                self.full.insert(below.level, Tile { id: below, hashes });
            }
        }
        Ok(hash)
    }

    /// Reads the first hashes of a tile as the store has it, trusted or not.
    pub(super) async fn stored(&self, id: TileId, width: usize) -> Result<Vec<Hash>, VerifyError> {
        let record = self.store.read(&id.at(self.tenant)).await?;
        match Tile::decode(id, record.as_ref(), width) {
            Ok(tile) => Ok(tile.hashes),
            Err(StoreError::Damaged { why, .. }) => Err(touched(id, &why).into()),
            Err(error) => Err(error.into()),
        }
    }

    fn is_edge(&self, id: TileId) -> bool {
        TileId::edge(id.level, self.edge.size()).0 == id
    }

    fn is_known(&self, id: TileId) -> bool {
        self.full.get(&id.level).is_some_and(|tile| tile.id == id)
    }
}

fn touched(id: TileId, why: &str) -> Broken {
    Broken::log(Damage::Tile { id, why: why.to_owned() })
}
