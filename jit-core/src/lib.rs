//! Just-in-time access to database roles.
//!
//! With jit nobody holds a privileged role. A person asks for one and says why, policy says whose
//! yes it takes, and the database itself grants the role for minutes or hours. When the window
//! closes, the role is revoked and the sessions that used it end. jit reads the catalog again to
//! verify that, and never gives up. Every step is in a log that nobody can change unseen.
//!
//! This crate is the engine. An adapter crate connects it to a database: `jit-postgres`,
//! `jit-mysql` (MySQL and MariaDB) or `jit-mssql`.
//!
//! # Example
//!
//! The mock database stands for a server here, so that the example runs without one. A service
//! takes `PostgresDatabase`, `MySqlDatabase` or `MsSqlDatabase` instead, and `SqliteStore` or
//! `PostgresStore`.
//!
#![cfg_attr(feature = "testkit", doc = "```")]
#![cfg_attr(not(feature = "testkit"), doc = "```ignore")]
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use jit_core::testkit::mock::{MockServer, Profile};
//! use jit_core::{AccessRequest, AccessState, Actor, Jit, MemoryStore, PolicyDocument};
//! use jit_core::{SystemClock, TenantId, TimeDelta};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let policy = r#"
//! version = 1
//! [groups]
//! payments = ["alice"]
//! dba      = ["bob"]
//! [[rule]]
//! name       = "read orders"
//! targets    = ["orders-*"]
//! roles      = ["orders_read"]
//! requesters = ["group:payments"]
//! max        = "1h"
//! [[rule.stage]]
//! people = [{ group = "dba" }]
//! "#;
//! let server = MockServer::new(Profile::postgres(17), Arc::new(SystemClock));
//! server.create_account("alice")?;
//! server.create_role("orders_read")?;
//!
//! let jit = Jit::builder()
//!     .store(MemoryStore::new(Arc::new(SystemClock)))
//!     .policy(PolicyDocument::parse(policy, "policy.toml")?)
//!     .database("orders-prod", server.database())
//!     .build()
//!     .await?;
//! let pump = jit.start();
//!
//! // The service has authenticated both.
//! let alice = Actor::authenticated(TenantId::default(), "alice".parse()?, "oidc");
//! let bob = Actor::authenticated(TenantId::default(), "bob".parse()?, "oidc");
//!
//! let request = AccessRequest::new("orders-prod", "orders_read", TimeDelta::minutes(30))
//!     .because("OPS-12: stuck orders");
//! let access = jit.request(&alice, request).await?;
//! jit.approve(&bob, &access, "go ahead").await?;
//! let access = jit.until_active(access.id(), Duration::from_secs(10)).await?;
//! assert_eq!(access.state, AccessState::Active);
//!
//! jit.release(&alice, access.id()).await?;
//! let access = jit.until_ended(access.id(), Duration::from_secs(10)).await?;
//! assert_eq!(access.state, AccessState::Revoked);
//! pump.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! Without features this crate depends on no driver, TLS or HTTP crate. A feature only adds.
//!
//! | feature | adds |
//! | --- | --- |
//! | `sqlite` | [`store::SqliteStore`](store) |
//! | `http` | webhooks, Slack, trackers, Open Policy Agent, a directory over HTTP |
//! | `email` | notices by mail |
//! | `totp` | codes of RFC 6238 as a second factor |
//! | `oidc` | a step-up by OpenID Connect as a second factor; includes `http` |
//! | `cedar` | policies in Cedar |
//! | `tls` | TLS that the adapters share; an adapter turns it on |
//! | `testkit` | mock database, movable clock and law suites, for tests |
//!
//! # Where to go next
//!
//! - [`Jit`]: every command. [`Builder`]: everything that can be plugged in.
//! - [`policy`]: rules in TOML or Cedar. [`PolicyDocument`] shows one.
//! - [`laws`]: the promises, which comments and tests cite by number.
//! - [`database::Database`] and [`store::Store`]: the contracts of adapters and stores;
//!   `testkit` has a law suite for each.
//! - The book in `docs/` of the repository: a tour, one page for each engine, operations, security.
#![warn(clippy::exhaustive_enums, clippy::exhaustive_structs)]
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

mod actor;
mod alike;
pub mod approver;
pub mod audit;
pub mod audit_event;
mod catalog;
pub mod clock;
pub mod database;
pub mod directory;
pub mod engine;
mod handling;
mod hex;
#[cfg(feature = "http")]
pub mod http;
pub mod id;
mod key_file;
#[doc = include_str!("laws.md")]
pub mod laws {}
pub mod mfa;
#[allow(clippy::exhaustive_enums, clippy::exhaustive_structs, reason = "only the engine and its tests use it")]
mod model;
mod names;
pub mod notify;
pub mod policy;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
#[allow(clippy::disallowed_methods, reason = "it is tests")]
#[allow(clippy::exhaustive_enums, clippy::exhaustive_structs, reason = "a law suite that grew has to stop a build")]
pub mod testkit;
pub mod text;

/// Parts that the adapters of this repository share, and machines of the engine for its tests and
/// tools. They change without notice.
#[doc(hidden)]
pub mod internal {
    pub use crate::audit::entry::EntryContext;
    pub use crate::database::adapter;
    #[cfg(feature = "testkit")]
    pub use crate::engine::simulated::{Gate, spawn_gated};
    pub use crate::model::{access, approval, grant, holding, proof, request};
    pub use crate::names::join;
    #[cfg(feature = "testkit")]
    pub use crate::store::memory::Replica;
}

pub use actor::{Actor, Evidence};
pub use audit::{JsonLines, SigningKey};
pub use chrono::TimeDelta;
pub use clock::{SystemClock, SystemEntropy, Time};
pub use database::{EnvCredentials, FileCredentials, TlsMode};
pub use directory::DirectoryError;
pub use engine::{
    About, AccessRequest, AccessView, Builder, EngineEvent, ErrorClass, Filter, Jit, JitError, PassReport, PumpHandle,
    Reconcile, Scope, TenantBuilder,
};
pub use id::{AccessId, Account, Principal, QuestionId, RoleName, TargetName, TenantId};
pub use model::access::{AccessState, PendingQuestion, Refusal, ReviewGiven, UnknownState};
pub use model::approval::{DecisionRefused, Verdict};
pub use policy::PolicyDocument;
pub use secrecy::SecretString;
pub use store::MemoryStore;
#[cfg(feature = "sqlite")]
pub use store::SqliteStore;
