//! Engines whose tasks are owned by a simulator.

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
}
