//! The audit log: entries, the tree over them, checkpoints, proofs, verification and sinks.
//!
//! Each tenant has one append-only log. Entries commit with their changes. [`advance`] numbers them
//! and extends an RFC 6962 Merkle tree; [`checkpoint`] signs its size and root. Anyone with the
//! public key alone can check three things: the log only grew ([`verify_consistency`]), an entry is
//! in it ([`verify_proof`]), and a copy is complete ([`verify_export`]).

mod broken;
mod canonical;
mod checkpoint;
pub(crate) mod entry;
mod export;
mod hash;
mod head;
mod key;
mod proof;
mod prove;
mod read;
mod sequencer;
mod sink;
mod tile;
mod tree;
mod verify;

#[cfg(test)]
mod tests;

pub use broken::{Broken, Damage};
pub use checkpoint::{Checkpoint, CheckpointError, Statement, origin};
pub(crate) use entry::EntryContext;
pub use entry::LogEntry;
pub use export::{ExportError, Exported, export, verify_export};
pub use hash::Hash;
pub use head::{LogHead, latest_checkpoint};
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use proof::{ProofError, ProofPlan, TreeHead, verify_consistency, verify_inclusion};
pub use prove::{Proof, ProveError, prove, prove_access, verify_proof};
pub use sequencer::{Advanced, BATCH, advance, checkpoint};
pub use sink::{AuditSink, JsonLines, NumberedEntry, SinkError, TracingSink};
pub(crate) use sink::{DeliverError, deliver_pending};
pub use tile::{TILE_WIDTH, Tile, TileId};
pub use verify::{VerifiedLog, VerifyError, verify};
