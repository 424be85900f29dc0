//! Just-in-time access to database roles: the state machines, the contracts and the engine.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods
    )
)]

pub mod access;
mod alike;
pub mod approval;
pub mod approver;
pub mod audit;
pub mod audit_event;
pub mod clock;
pub mod database;
pub mod directory;
pub mod engine;
pub mod grant;
mod hex;
pub mod holding;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
mod key_file;
pub mod mfa;
mod names;
pub mod notify;
pub mod policy;
pub mod request;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
#[allow(clippy::disallowed_methods, reason = "it is tests, and the simulator that owns the time")]
pub mod testkit;
pub mod text;
