//! The log: entries, the tree over them, checkpoints, proofs, verification and sinks.

mod entry;

pub use entry::{Entry, EntryContext};
mod stub;
pub use stub::*;
