//! The pure half: what a request, its approval, its grant and a holding may do, and the proofs that
//! they demand.
//!
//! Nothing here reads a clock, waits, or knows policy, databases and stores. The same event in the
//! same state has the same result, so the laws are tested without a server.

pub mod access;
pub mod approval;
pub mod grant;
pub mod holding;
pub mod proof;
pub mod request;
pub(crate) mod ruling;
