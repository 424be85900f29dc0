//! A sink that writes to the service's own log.

use async_trait::async_trait;

use super::{AuditSink, NumberedEntry, SinkError};
use crate::audit::checkpoint::Checkpoint;

/// Writes every entry as a `tracing` event at level info with the target `jit::audit`. It keeps
/// nothing itself: the subscriber decides if entries survive.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "it holds nothing, and never will")]
pub struct TracingSink;

#[async_trait]
impl AuditSink for TracingSink {
    fn name(&self) -> &'static str {
        "tracing"
    }

    async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError> {
        for NumberedEntry { tenant, number, body, .. } in batch {
            let entry = String::from_utf8_lossy(body);
            tracing::info!(target: "jit::audit", %tenant, number, %entry);
        }
        Ok(())
    }

    async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        tracing::info!(target: "jit::audit", checkpoint = checkpoint.note());
        Ok(())
    }
}
