//! The stored form of the tree: tiles of up to 256 hashes, as in C2SP tlog-tiles.

use super::hash::Hash;
use crate::id::TenantId;
use crate::store::{Kind, Record, RecordKey, StoreError};

/// Number of hashes that a full tile holds.
pub const TILE_WIDTH: usize = 256;

/// Number of tree levels that one level of tiles spans.
pub(super) const TILE_HEIGHT: u32 = 8;

/// Id of a tile. Level 0 holds leaf hashes; a hash at level `n + 1` is the root over a full tile of
/// level `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct TileId {
    /// Level of the tile, counted in tiles.
    pub level: u8,
    /// Index of the tile in its level, from the left.
    pub index: u64,
}

/// A tile: full and never changed again, or the rightmost of its level.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tile {
    /// Id of the tile.
    pub id: TileId,
    /// Hashes of the tile, at most [`TILE_WIDTH`].
    pub hashes: Vec<Hash>,
}

impl TileId {
    /// Returns the key of its record.
    #[must_use]
    pub fn at(self, tenant: &TenantId) -> RecordKey {
        RecordKey::new(tenant, Kind::LogTile, self.to_string())
    }

    /// Returns the rightmost tile of the level in a log of this size. The number counts its hashes
    /// that are complete subtrees of that log.
    #[must_use]
    pub fn edge(level: u8, size: u64) -> (Self, usize) {
        let hashes = shift(size, u32::from(level).saturating_mul(TILE_HEIGHT));
        let width = usize::try_from(hashes & 0xff).unwrap_or_default();
        (Self { level, index: shift(hashes, TILE_HEIGHT) }, width)
    }

    /// Returns the tile that holds the root over this one, and the place of that root.
    #[must_use]
    pub fn parent(self) -> (Self, usize) {
        let place = usize::try_from(self.index & 0xff).unwrap_or_default();
        (Self { level: self.level.saturating_add(1), index: shift(self.index, TILE_HEIGHT) }, place)
    }
}

impl std::fmt::Display for TileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // zero-padded, so that the store's order of keys is the tree's
        write!(f, "{:02}/{:020}", self.level, self.index)
    }
}

impl Tile {
    /// Encodes the tile as the store keeps it: the hashes one after the other.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// Reads the hashes of a stored body. A rest that is no whole hash is left out.
    pub(super) fn hashes(body: &[u8]) -> impl Iterator<Item = Hash> {
        body.as_chunks::<{ Hash::LENGTH }>().0.iter().map(|bytes| Hash::from_bytes(*bytes))
    }

    /// Reads the first `width` hashes of a stored tile. It may hold more, because a log grows while
    /// it is read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the tile is absent, cut, or too short.
    pub fn decode(id: TileId, record: Option<&Record>, width: usize) -> Result<Self, StoreError> {
        let damaged = |why: &str| StoreError::Damaged { kind: "log-tile", key: id.to_string(), why: why.to_owned() };
        let Some(record) = record else { return Err(damaged("it is missing")) };
        if !record.body.len().is_multiple_of(Hash::LENGTH) {
            return Err(damaged("it is not a whole number of hashes"));
        }
        let hashes: Vec<Hash> = Self::hashes(&record.body).take(width).collect();
        if hashes.len() < width {
            return Err(damaged("it holds fewer hashes than the log needs"));
        }
        Ok(Self { id, hashes })
    }
}

/// Shifts to the right; the result ends at zero.
pub(super) fn shift(value: u64, by: u32) -> u64 {
    value.checked_shr(by).unwrap_or_default()
}
