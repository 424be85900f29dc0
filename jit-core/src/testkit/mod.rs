//! Building blocks for tests of this crate, of its adapters and of an embedder's own
//! implementations.

mod bench;
mod clock;
pub mod database_laws;
pub mod faulty;
#[doc(hidden)]
pub mod live;
pub mod mock;
pub mod store_laws;

pub use bench::Bench;
pub use clock::ManualClock;
