//! What tests of this crate, of its adapters and of an embedder's own implementations are made of.

pub mod clock;

pub use clock::ManualClock;
