//! Building blocks for tests of this crate, of its adapters and of an embedder's own
//! implementations.

pub mod bench;
pub mod clock;
pub mod database_laws;
pub mod faulty;
pub mod live;
pub mod mock;
pub mod store_laws;

pub use bench::Bench;
pub use clock::ManualClock;
