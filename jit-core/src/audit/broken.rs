//! Findings of verification, in words for an auditor.

use std::fmt;

use super::tile::TileId;

/// First place in a log that is not as it was signed or numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// Number of the first bad entry, if it can be told.
    pub number: Option<u64>,
    /// Id of that entry, if there is such an entry.
    pub id: Option<String>,
    /// Kind of the damage.
    pub damage: Damage,
}

/// Kind of damage to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The entry's bytes are not those that were numbered.
    Changed,
    /// The entry's bytes are not in the canonical form, or its own fields contradict the log.
    Form {
        /// Description of the problem.
        why: String,
    },
    /// The entry is missing, and others follow it.
    Dropped,
    /// The entry is in the place of another one.
    Swapped {
        /// Number where it belongs.
        with: u64,
    },
    /// The entry was never numbered there.
    Smuggled,
    /// The log ends before it should.
    Truncated {
        /// Number of entries that there should be.
        size: u64,
    },
    /// A stored part of the tree does not match the entries and the rest of the tree.
    Tile {
        /// Id of the tile.
        id: TileId,
        /// Description of the problem.
        why: String,
    },
    /// The head of the log does not match the entries and tiles.
    Head {
        /// Description of the problem.
        why: String,
    },
    /// A checkpoint is missing, forged, or of another log.
    Checkpoint {
        /// Size that the checkpoint states, or under which it is stored.
        size: u64,
        /// Description of the problem.
        why: String,
    },
    /// Entries, tiles and head agree with each other, but not with what was signed. They were
    /// rewritten together.
    Rewritten {
        /// Size of the last checkpoint that still holds. Everything before it is as it was signed.
        good: u64,
        /// Size of the first checkpoint that does not hold.
        bad: u64,
    },
    /// A line of an export does not have the form that belongs there.
    Line {
        /// Description of the problem.
        why: String,
    },
}

impl Broken {
    /// Makes a finding about an entry.
    pub(super) fn entry(number: u64, id: Option<String>, damage: Damage) -> Self {
        Self { number: Some(number), id, damage }
    }

    /// Makes a finding about the log as a whole.
    pub(super) fn log(damage: Damage) -> Self {
        Self { number: None, id: None, damage }
    }
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, &self.id) {
            (Some(number), Some(id)) => write!(f, "entry {number} ({id}): ")?,
            (Some(number), None) => write!(f, "entry {number}: ")?,
            (None, _) => f.write_str("the log: ")?,
        }
        match &self.damage {
            Damage::Changed => f.write_str("it was changed"),
            Damage::Form { why } | Damage::Line { why } => f.write_str(why),
            Damage::Dropped => f.write_str("it was removed"),
            Damage::Swapped { with } => write!(f, "it was swapped, it belongs to number {with}"),
            Damage::Smuggled => f.write_str("it was inserted"),
            Damage::Truncated { size } => {
                write!(f, "it and all entries after it are missing: there should be {size} entries")
            }
            Damage::Tile { id, why } => write!(f, "tile {id} of its tree was changed: {why}"),
            Damage::Head { why } => write!(f, "its head was changed: {why}"),
            Damage::Checkpoint { size, why } => write!(f, "its checkpoint of size {size} is not valid: {why}"),
            Damage::Rewritten { good, bad } => write!(
                f,
                "entries were rewritten together with the tree: the checkpoint of size {good} holds, that of size {bad} does not"
            ),
        }
    }
}
