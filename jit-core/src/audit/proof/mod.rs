//! Inclusion and consistency proofs (RFC 6962 section 2.1, verified as RFC 9162 section 2.1 says).
//! Making one is pure too. A plan names the tiles that it needs, the caller reads them, and the
//! plan makes the proof from them.

use std::collections::{BTreeMap, BTreeSet};

use super::hash::Hash;
use super::tile::{TILE_HEIGHT, Tile, TileId, shift};

/// Plan of a proof: O(log n) subtrees, found in O(log n) tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPlan {
    /// Leaves `from..to` of each hash, in the proof's order.
    spans: Vec<(u64, u64)>,
}

impl ProofPlan {
    /// Plans the proof that leaf `index` is in the log of this size. `None` if it is not.
    #[must_use]
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let (mut from, mut to, mut spans) = (0, size, Vec::new());
        while let Some(middle) = split(from, to) {
            if index < middle {
                spans.push((middle, to));
                to = middle;
            } else {
                spans.push((from, middle));
                from = middle;
            }
        }
        spans.reverse();
        Some(Self { spans })
    }

    /// Plans the proof that the log of size `old` is a beginning of the log of size `new`. `None`
    /// if the old log is longer.
    #[must_use]
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new {
            return None;
        }
        let (mut from, mut to, mut spans) = (0, new, Vec::new());
        while old > 0 && old != to {
            let middle = split(from, to)?;
            if old <= middle {
                spans.push((middle, to));
                to = middle;
            } else {
                spans.push((from, middle));
                from = middle;
            }
        }
        // the verifier knows the old root, so it is not repeated if it is a whole subtree from the
        // left
        if from > 0 {
            spans.push((from, to));
        }
        spans.reverse();
        Some(Self { spans })
    }

    /// Plans the root of the log at this size, as the only hash.
    #[must_use]
    pub fn root(size: u64) -> Self {
        Self { spans: vec![(0, size)] }
    }

    /// Lists the tiles that are needed, and the number of hashes of each.
    #[must_use]
    pub fn tiles(&self) -> BTreeMap<TileId, usize> {
        let mut tiles: BTreeMap<TileId, usize> = BTreeMap::new();
        for piece in self.spans.iter().flat_map(|(from, to)| pieces(*from, *to)) {
            let width = tiles.entry(piece.tile).or_default();
            *width = (*width).max(piece.to);
        }
        tiles
    }

    /// Makes the proof from the tiles that were read.
    ///
    /// # Errors
    /// The tiles that are missing or too short.
    pub fn make(&self, tiles: &BTreeMap<TileId, Tile>) -> Result<Vec<Hash>, BTreeSet<TileId>> {
        let mut missing = BTreeSet::new();
        let hashes = self
            .spans
            .iter()
            .map(|(from, to)| {
                let mut peaks = Vec::new();
                for piece in pieces(*from, *to) {
                    match tiles.get(&piece.tile).and_then(|tile| tile.hashes.get(piece.from..piece.to)) {
                        Some(hashes) => peaks.push(Hash::over(hashes)),
                        None => drop(missing.insert(piece.tile)),
                    }
                }
                peaks.into_iter().rev().reduce(|right, left| Hash::node(&left, &right)).unwrap_or_else(Hash::empty)
            })
            .collect();
        if missing.is_empty() { Ok(hashes) } else { Err(missing) }
    }
}

/// Reason why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The log is too short for the number or size that is to be proved.
    #[error("number {index} is not in a log of {size} entries")]
    OutOfRange {
        /// Number of the entry, or the smaller size.
        index: u64,
        /// Size of the log.
        size: u64,
    },
    /// The proof has too many or too few hashes.
    #[error("the proof has {hashes} hashes, which does not fit the size of the log")]
    Length {
        /// Number of hashes that it has.
        hashes: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to another root: something was changed")]
    OtherRoot,
}

/// Size of a log and the root of its tree, as a checkpoint states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl TreeHead {
    /// Creates the head of a log of this size and root.
    #[must_use]
    pub fn new(size: u64, root: Hash) -> Self {
        Self { size, root }
    }
}

/// Checks that the leaf is number `index` of the log that has this head.
///
/// # Errors
/// [`ProofError`] if it is not proved.
pub fn verify_inclusion(leaf: &Hash, index: u64, head: TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    let TreeHead { size, root } = head;
    let Some(mut last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return Err(ProofError::OutOfRange { index, size });
    };
    let (mut place, mut hash) = (index, *leaf);
    for step in proof {
        if last == 0 {
            return Err(ProofError::Length { hashes: proof.len() });
        }
        if is_odd(place) || place == last {
            hash = Hash::node(step, &hash);
            (place, last) = climb_to_odd(place, last);
        } else {
            hash = Hash::node(&hash, step);
        }
        (place, last) = (half(place), half(last));
    }
    if last != 0 {
        return Err(ProofError::Length { hashes: proof.len() });
    }
    if hash == root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

/// Checks that the older log is a beginning of the newer one.
///
/// # Errors
/// [`ProofError`] if it is not proved.
pub fn verify_consistency(older: TreeHead, newer: TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    let (TreeHead { size: old, root: old_root }, TreeHead { size: new, root: new_root }) = (older, newer);
    let wrong_length = ProofError::Length { hashes: proof.len() };
    if old > new {
        return Err(ProofError::OutOfRange { index: old, size: new });
    }
    if old == new || old == 0 {
        let same = if old == new { old_root == new_root } else { old_root == Hash::empty() };
        return match (proof.is_empty(), same) {
            (false, _) => Err(wrong_length),
            (true, false) => Err(ProofError::OtherRoot),
            (true, true) => Ok(()),
        };
    }
    let mut steps = proof.iter();
    let start = if old.is_power_of_two() { Some(&old_root) } else { steps.next() };
    let Some(start) = start else { return Err(wrong_length) };
    let (mut place, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while is_odd(place) {
        (place, last) = (half(place), half(last));
    }
    let (mut old_hash, mut new_hash) = (*start, *start);
    for step in steps {
        if last == 0 {
            return Err(wrong_length);
        }
        if is_odd(place) || place == last {
            old_hash = Hash::node(step, &old_hash);
            new_hash = Hash::node(step, &new_hash);
            (place, last) = climb_to_odd(place, last);
        } else {
            new_hash = Hash::node(&new_hash, step);
        }
        (place, last) = (half(place), half(last));
    }
    if last != 0 {
        return Err(wrong_length);
    }
    if old_hash == old_root && new_hash == new_root { Ok(()) } else { Err(ProofError::OtherRoot) }
}

/// A complete subtree, as hashes `from..to` of one tile.
struct Piece {
    tile: TileId,
    from: usize,
    to: usize,
}

/// Lists the complete subtrees over the leaves `from..to`, from the left. `from` is a multiple of
/// the largest of them, as it is in every split of RFC 6962.
fn pieces(mut from: u64, to: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(height) = to.saturating_sub(from).checked_ilog2() {
        let (level, rest) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = shift(from, level.saturating_mul(TILE_HEIGHT));
        let place = usize::try_from(first & 0xff).unwrap_or_default();
        let width = 1_usize.checked_shl(rest).unwrap_or(1);
        let tile = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index: shift(first, TILE_HEIGHT) };
        pieces.push(Piece { tile, from: place, to: place.saturating_add(width) });
        from = from.saturating_add(1_u64.checked_shl(height).unwrap_or(u64::MAX));
    }
    pieces
}

/// Returns the leaf at which RFC 6962 splits these leaves: after the largest power of two that is
/// smaller than their number.
fn split(from: u64, to: u64) -> Option<u64> {
    let height = to.checked_sub(from)?.checked_sub(1)?.checked_ilog2()?;
    from.checked_add(1_u64.checked_shl(height)?)
}

fn climb_to_odd(mut place: u64, mut last: u64) -> (u64, u64) {
    while place != 0 && !is_odd(place) {
        (place, last) = (half(place), half(last));
    }
    (place, last)
}

fn is_odd(value: u64) -> bool {
    value & 1 == 1
}

fn half(value: u64) -> u64 {
    shift(value, 1)
}

#[cfg(test)]
mod tests;
