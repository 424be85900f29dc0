//! Engines that are built for a simulator, or for a test that needs them small.

use std::sync::Arc;

use super::builder::Builder;
use super::tasks::Tasks;
pub use super::tasks::{Gate, spawn_gated};

impl Builder {
    /// Sends every task of the engine through this gate.
    #[doc(hidden)]
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.tasks = Tasks { gate: Some(gate) };
        self
    }

    /// Sets the number of accounts that one pass takes. With few, a short test falls behind.
    #[doc(hidden)]
    #[must_use]
    pub fn batch(mut self, accounts: usize) -> Self {
        self.limits.batch = accounts.max(1);
        self
    }
}
