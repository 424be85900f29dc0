//! Common parts of the integration tests: throwaway servers, and the worlds in which the laws run
//! around them.
#![forbid(unsafe_code)]

pub mod engine;
pub mod identity;
pub mod outside;
pub mod places;
pub mod pooler;
pub mod proxy;
pub mod server;
pub mod servers;
pub mod set_up;
pub mod tls;
pub mod trials;
pub mod world;
