//! The growing tree. Its rightmost tiles are enough to append and to know the root.

use super::hash::Hash;
use super::tile::{TILE_WIDTH, Tile, TileId};

/// Right edge of a log's tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Edge {
    size: u64,
    /// Hashes of the tile that is being filled, from level 0 upwards; fewer than 256 each.
    rows: Vec<Vec<Hash>>,
}

impl Edge {
    /// Lists the tiles that make the edge of a log of this size, with the number of their hashes.
    /// Empty tiles are left out.
    #[must_use]
    pub(super) fn tiles(size: u64) -> Vec<(TileId, usize)> {
        (0..=7).map(|level| TileId::edge(level, size)).filter(|(_, width)| *width > 0).collect()
    }

    /// Makes an edge from the tiles that [`Edge::tiles`] names, in its order. `None` if they are
    /// others.
    #[must_use]
    pub(super) fn from_tiles(size: u64, tiles: Vec<Tile>) -> Option<Self> {
        let mut edge = Self { size, rows: Vec::new() };
        let wanted = Self::tiles(size);
        if wanted.len() != tiles.len() {
            return None;
        }
        for (tile, (id, width)) in tiles.into_iter().zip(wanted) {
            if tile.id != id || tile.hashes.len() != width {
                return None;
            }
            let level = usize::from(id.level);
            edge.rows.resize_with(level.saturating_add(1), Vec::new);
            *edge.rows.get_mut(level)? = tile.hashes;
        }
        Some(edge)
    }

    /// Returns the number of leaves of the log.
    #[must_use]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. Tiles that it fills go to `full`, lowest first.
    pub(super) fn push(&mut self, leaf: Hash, full: &mut Vec<Tile>) {
        let mut hash = leaf;
        let size = self.size;
        self.size = size.saturating_add(1);
        for level in 0..=7 {
            let row = usize::from(level);
            if self.rows.len() <= row {
                self.rows.push(Vec::new());
            }
            let Some(row) = self.rows.get_mut(row) else { return };
            row.push(hash);
            if row.len() < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::take(row);
            hash = Hash::over(&hashes);
            full.push(Tile { id: TileId::edge(level, size).0, hashes });
        }
    }

    /// Returns the present root of the log.
    #[must_use]
    pub(super) fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for row in &self.rows {
            let mut row = row.clone();
            row.extend(below);
            below = (!row.is_empty()).then(|| Hash::over(&row));
        }
        below.unwrap_or_else(Hash::empty)
    }

    /// Returns the tiles that are not full, lowest first.
    #[must_use]
    pub(super) fn partial(&self) -> Vec<Tile> {
        let rows = Self::tiles(self.size);
        rows.into_iter()
            .filter_map(|(id, _)| {
                let hashes = self.rows.get(usize::from(id.level))?.clone();
                Some(Tile { id, hashes })
            })
            .collect()
    }

    /// Returns the hashes of the tile that is being filled at this level.
    #[must_use]
    pub(super) fn row(&self, level: u8) -> &[Hash] {
        self.rows.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves of the certificate-transparency test vectors.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    /// Roots at sizes 0 to 8: the published vectors. They were computed again outside this code
    /// with Python's hashlib, recursively as RFC 6962 section 2.1 defines them.
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hex(hash: Hash) -> String {
        hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn roots_are_those_of_rfc_6962_vectors() {
        let mut edge = Edge::default();
        assert_eq!(hex(edge.root()), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            edge.push(Hash::leaf(leaf), &mut Vec::new());
            assert_eq!(hex(edge.root()), *root);
        }
    }

    #[test]
    fn a_tree_of_three_levels_of_tiles_has_the_root_computed_outside() {
        // leaves "0" to "69999" in decimal; the root computed with Python's hashlib
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for number in 0..70_000 {
            edge.push(Hash::leaf(number.to_string().as_bytes()), &mut full);
        }
        assert_eq!(hex(edge.root()), "1a4cdfcb66374a0c0dcbef49acbd4976d13ee864fb3cb241fc943cad04f02f7e");
        assert_eq!(full.iter().filter(|tile| tile.id.level == 0).count(), 273);
        assert_eq!(full.iter().filter(|tile| tile.id.level == 1).count(), 1);
        assert_eq!(full.last().unwrap().id, TileId { level: 0, index: 272 });
        assert_eq!(Edge::tiles(70_000).len(), 3);
    }

    #[test]
    fn an_edge_comes_back_from_its_tiles_at_every_size() {
        let mut edge = Edge::default();
        for number in 0_u32..1200 {
            let again = Edge::from_tiles(edge.size(), edge.partial()).unwrap();
            assert_eq!(again.root(), edge.root(), "size {number}");
            edge.push(Hash::leaf(&number.to_be_bytes()), &mut Vec::new());
        }
        assert!(Edge::from_tiles(edge.size() + 1, edge.partial()).is_none());
    }
}
