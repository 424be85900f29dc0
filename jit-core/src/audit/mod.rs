//! The log: entries, the tree over them, checkpoints, proofs, verification and sinks.

mod canonical;
mod checkpoint;
mod entry;
mod hash;
mod key;
mod proof;
mod tile;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError, Statement, origin};
pub use entry::{Entry, EntryContext};
pub use hash::Hash;
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use proof::{ProofError, ProofPlan, verify_consistency, verify_inclusion};
pub use tile::{TILE_WIDTH, Tile, TileId};
pub use tree::Edge;
