//! What verification found wrong, in words for an auditor.

use std::fmt;

use super::tile::TileId;

/// The first thing in a log that is not as it was signed or numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The number of the first bad entry, where it can be told.
    pub number: Option<u64>,
    /// Its id, where there is such an entry.
    pub id: Option<String>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What can be wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// The entry's bytes are not those that were numbered.
    Changed,
    /// The entry's bytes are not in the canonical form, or its own fields contradict the log.
    Form {
        /// In which way.
        why: String,
    },
    /// The entry is not there, others are after it.
    Dropped,
    /// The entry stands in the place of another one.
    Swapped {
        /// Where it belongs.
        with: u64,
    },
    /// An entry is there that was never numbered there.
    Smuggled,
    /// The log ends before it should.
    Truncated {
        /// How many entries there should be.
        size: u64,
    },
    /// A stored part of the tree is not what the entries and the rest of the tree make it.
    Tile {
        /// Which.
        id: TileId,
        /// In which way.
        why: String,
    },
    /// The head of the log is not what entries and tiles make it.
    Head {
        /// In which way.
        why: String,
    },
    /// A checkpoint is missing, forged, or of another log.
    Checkpoint {
        /// The size that it states, or stands under.
        size: u64,
        /// In which way.
        why: String,
    },
    /// Entries, tiles and head agree with each other, but not with what was signed: they were rewritten together.
    Rewritten {
        /// The size of the last checkpoint that still holds; everything before it is as it was signed.
        good: u64,
        /// The size of the first that does not.
        bad: u64,
    },
    /// A line of an export is not what an export has there.
    Line {
        /// In which way.
        why: String,
    },
}

impl Broken {
    /// With an entry.
    pub(super) fn entry(number: u64, id: Option<String>, wrong: Wrong) -> Self {
        Self { number: Some(number), id, wrong }
    }

    /// Without one.
    pub(super) fn log(wrong: Wrong) -> Self {
        Self { number: None, id: None, wrong }
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
        match &self.wrong {
            Wrong::Changed => f.write_str("it was changed"),
            Wrong::Form { why } | Wrong::Line { why } => f.write_str(why),
            Wrong::Dropped => f.write_str("it was taken out"),
            Wrong::Swapped { with } => write!(f, "it was swapped, it belongs to number {with}"),
            Wrong::Smuggled => f.write_str("it was smuggled in"),
            Wrong::Truncated { size } => write!(f, "it and all after it are gone, there should be {size} entries"),
            Wrong::Tile { id, why } => write!(f, "tile {id} of its tree was touched: {why}"),
            Wrong::Head { why } => write!(f, "its head was touched: {why}"),
            Wrong::Checkpoint { size, why } => write!(f, "its checkpoint of size {size} does not count: {why}"),
            Wrong::Rewritten { good, bad } => write!(
                f,
                "entries were rewritten together with the tree: the checkpoint of size {good} holds, that of size {bad} does not"
            ),
        }
    }
}
