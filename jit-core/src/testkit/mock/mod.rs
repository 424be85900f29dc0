//! A database server in memory, with the quirks that were measured on real ones, and an adapter for it.
//!
//! It is for tests of what stands above a [`Database`](crate::database::Database): it is fast, needs no server, and its clock may be
//! one set by hand. What it claims of an engine is held against the real one by running the same laws on both.

mod adapter;
mod catalog;
mod dead_man;
mod profile;
mod server;
mod world;

pub use adapter::MockDatabase;
pub use profile::Profile;
pub use server::{MockHold, MockServer, MockSession};
pub use world::MockWorld;
