//! Tests of the engine over embedded stores and mock servers: they see the laws kept as an embedder
//! would.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods
)]

mod approvals;
mod concurrent;
mod dead_mans_switch;
mod decisions;
mod faults;
mod hostile;
mod identity;
mod leftovers;
mod look_alikes;
mod operators;
mod outage;
mod overlap;
mod overtaken;
mod stage;
mod two_stores;
mod whole;
