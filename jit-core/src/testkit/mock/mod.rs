//! A database server in memory, with the quirks that were measured on real servers, and an adapter
//! for it.
//!
//! Use it to test code that works with a [`Database`](crate::database::Database). It is fast, needs
//! no server, and runs on a clock that can be set by hand. The same laws run on the mock and on the
//! real engines, so that its behaviour is checked against theirs.

mod adapter;
mod catalog;
mod dead_mans_switch;
mod profile;
mod server;
mod world;

pub use adapter::MockDatabase;
pub use profile::Profile;
pub use server::{MockHold, MockServer, MockSession};
pub use world::MockWorld;
